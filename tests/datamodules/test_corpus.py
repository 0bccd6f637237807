import pytest
import torch

from datamodules.corpus import Corpus, CorpusLoader

SENTENCES = [["a", "b", "c"], ["d", "e"], ["a", "b"], ["f"]] * 30


def corpus(**options):
    return Corpus(
        sentences=SENTENCES, **{"min_count": 1, "subsample_threshold": 0, "length": 16, "val_fraction": 0, **options}
    )


def rows(loader):
    return torch.cat([batch["tokens"] for batch in loader])


def test_all_words_are_served_with_ends_between_sentences():
    data = corpus(batch_size=3)
    words = list(data.vocabulary)
    served = rows(data.val_dataloader()).flatten().tolist()
    text = [word for sentence in SENTENCES for word in (*sentence, None)]
    assert [words[i] if i >= 0 else None for i in served][: len(text)] == text
    assert set(served[len(text) :]) <= {-1}


def test_epochs_differ_and_repeat_by_seed():
    def epoch(number, seed=0, **options):
        loader = corpus(batch_size=3, seed=seed, **options).train_dataloader()
        loader.sampler.set_epoch(number)
        return rows(loader)

    assert torch.equal(epoch(0), epoch(0)) and not torch.equal(epoch(0), epoch(1))
    assert not torch.equal(epoch(0), epoch(0, seed=1))
    assert len(epoch(0, subsample_threshold=0.05)) == len(epoch(1, subsample_threshold=0.05)) < len(epoch(0))


def test_ranks_part_the_rows():
    data = corpus(batch_size=2)
    data.setup()
    whole = {tuple(row) for row in rows(data.val_dataloader()).tolist()}
    parts = [CorpusLoader(data._train, 2, rank, 3, shuffle=True) for rank in range(3)]
    assert len({len(part) for part in parts}) == 1 == len({len(list(part)) for part in parts})
    assert {tuple(row) for part in parts for row in rows(part).tolist()} == whole


def test_goes_on_in_the_middle_of_an_epoch():
    first, second = corpus(batch_size=2).train_dataloader(), corpus(batch_size=2).train_dataloader()
    whole = [batch["tokens"] for batch in first]
    running = iter(first)
    next(running), next(running)
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a["tokens"], b) for a, b in zip(second, whole[2:], strict=True))


def test_bundled_text_and_phrases():
    data = Corpus()
    assert data.vocab_size == len(data.vocabulary) > 1000 and next(iter(data.vocabulary)) == "the"
    assert "new_south" not in data.vocabulary and "south_wales" not in data.vocabulary
    joined = Corpus(phrases=1).vocabulary
    assert any("_" in word for word in joined)


def test_strings_are_split_into_words_and_not_into_letters():
    data = Corpus(sentences=["hello world", "hello python"], min_count=1)
    assert data.vocabulary == {"hello": 2, "world": 1, "python": 1}
    with pytest.raises(ValueError, match="for one text write"):
        Corpus(sentences="hello world")


@pytest.mark.parametrize("options, message", [
    ({"min_count": 0}, "min_count must be"), ({"length": 1}, "length must be"), ({"val_fraction": 1.0}, "val_fraction"),
])  # fmt: skip
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Corpus(**options)


def test_texts_without_pairs_are_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match="the text is empty"):
        Corpus(str(tmp_path / "empty.txt")).setup()
    with pytest.raises(ValueError, match="no sentence has two words"):
        Corpus(sentences=[["one"], ["two"]], min_count=1).setup()


def test_the_held_out_text_is_validation_and_test():
    data = Corpus(sentences=["one two three four five six"] * 3000, min_count=1)
    assert data.test_is_validation
    batches = [next(iter(loader)) for loader in (data.val_dataloader(), data.test_dataloader())]
    assert torch.equal(batches[0]["tokens"], batches[1]["tokens"])
