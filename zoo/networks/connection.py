"""Whether a server can be reached, told within seconds: libraries that download retry for minutes."""

import urllib.error
import urllib.request
from concurrent.futures import Future
from threading import Thread

_BUSY = (408, 429)


def no_connection(url: str, seconds: float = 5.0) -> str:
    """That there is no connection to ``url``'s server, and why; "" where there is one. Proxies are used as urllib does.

    Args:
        url: Address on the server; what lies there does not matter.
        seconds: Seconds after which a server that did not answer counts as unreachable.
    """
    answer: Future[str] = Future()
    # A thread, since names are looked up without a limit; nothing waits for it when the limit is over.
    Thread(target=lambda: answer.set_result(_trouble(url, seconds)), daemon=True).start()
    try:
        reason = answer.result(seconds)
    except TimeoutError:
        reason = f"no answer within {seconds:g} s"
    server = "/".join(url.split("/")[:3])
    return reason and f"no connection to {server}: {reason}"


def _trouble(url: str, seconds: float) -> str:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError as error:  # it answered: what lies elsewhere may be there
        return f"it answers {error.code}" if error.code >= 500 or error.code in _BUSY else ""
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return ""
