import torch
from torch.nn import functional as F

from zoo.functional.distill import contrast_scores, crd_loss
from zoo.networks.contrast import ContrastMemory


def made(samples=30, **options):
    torch.manual_seed(0)
    contrast = ContrastMemory(5, 7, dim=4, negatives=9, **options)
    contrast.allocate(samples)
    return contrast, torch.randn(6, 5), torch.randn(6, 7), torch.arange(10, 16)


def test_the_loss_is_that_of_both_directions():
    contrast, student, teacher, index = made()
    memory = contrast.memory.clone()
    torch.manual_seed(3)
    loss = contrast(student, teacher, index)
    torch.manual_seed(3)
    chosen = torch.randint(30, (9,))
    own = [F.normalize(contrast.student(student)), F.normalize(contrast.teacher(teacher))]
    expected = 0
    for side in (0, 1):
        scores = contrast_scores(own[side], memory[1 - side][index], memory[1 - side][chosen])
        expected = expected + crd_loss(scores, scores.mean().detach() * 30, 30)
    torch.testing.assert_close(loss, expected)


def test_rows_follow_what_was_seen():
    contrast, student, teacher, index = made(momentum=0.25)
    before = contrast.memory.clone()
    contrast(student, teacher, index)
    seen = torch.stack([F.normalize(contrast.student(student)), F.normalize(contrast.teacher(teacher))])
    torch.testing.assert_close(contrast.memory[:, index], F.normalize(0.75 * seen + 0.25 * before[:, index], dim=2))
    others = torch.tensor([i for i in range(30) if i not in index])
    assert torch.equal(contrast.memory[:, others], before[:, others])


def test_constants_stay_those_of_the_first_batch_and_evaluation_remembers_nothing():
    contrast, student, teacher, index = made()
    contrast(student, teacher, index)
    constants, memory = contrast.constants.clone(), contrast.memory.clone()
    assert (constants > 0).all()
    contrast.eval()(student + 1, teacher - 1, index)
    assert torch.equal(contrast.memory, memory)
    contrast.train()(student + 1, teacher - 1, index)
    assert torch.equal(contrast.constants, constants) and not torch.equal(contrast.memory, memory)


def test_the_memory_is_part_of_the_state_and_no_buffer():
    contrast, student, teacher, index = made()
    contrast(student, teacher, index)
    other = ContrastMemory(5, 7, dim=4, negatives=9)
    other.load_state_dict(contrast.state_dict())
    other.allocate(30)  # as many: they stay
    assert torch.equal(other.memory, contrast.memory) and "memory" not in dict(contrast.named_buffers())
    assert contrast.double().memory.dtype == torch.float64
