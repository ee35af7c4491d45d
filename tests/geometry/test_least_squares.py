"""Levenberg-Marquardt against scipy, closed forms and problems that are known to be hard."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor

from lineament.errors import UsageError
from lineament.geometry.least_squares import jacobian_of, levenberg_marquardt
from lineament.geometry.rotation import matrix_from_pose


def rosenbrock(x: Tensor) -> Tensor:
    return torch.stack([10 * (x[:, 1] - x[:, 0] ** 2), 1 - x[:, 0]], 1)


def powell(x: Tensor) -> Tensor:
    """Singular at its minimum, 0."""
    a, b, c, d = x.unbind(1)
    return torch.stack([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2], 1)


def decay(x: Tensor) -> Tensor:
    """A decay with noise: a cost that does not vanish."""
    times = torch.linspace(0, 3, 12, dtype=x.dtype)
    noise = 0.1 * torch.sin(7 * times)
    return x[:, :1] * torch.exp(-x[:, 1:2] * times) + x[:, 2:] - (2 * torch.exp(-1.3 * times) + 0.5 + noise)


@pytest.mark.parametrize(
    ("problem", "starts"),
    [
        (rosenbrock, [[-1.2, 1.0], [3.0, -4.0], [0.0, 0.0]]),
        (powell, [[3.0, -1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]),
        (decay, [[1.0, 1.0, 0.0], [5.0, 0.2, -1.0], [0.1, 3.0, 2.0]]),
    ],
)
def test_minima_are_those_of_scipy(problem, starts):
    found = levenberg_marquardt(
        problem, torch.tensor(starts, dtype=torch.float64), tolerance=1e-12, steps=200
    )
    assert found.converged.all()
    for row, start in enumerate(starts):
        oracle = least_squares(
            lambda x: problem(torch.from_numpy(x)[None])[0].numpy(),
            np.array(start),
            method="lm",
            xtol=1e-12,
            ftol=1e-14,
        )
        assert float(found.cost[row]) <= oracle.cost * (1 + 1e-6) + 1e-16
        atol = 1e-3 if problem is powell else 1e-6
        torch.testing.assert_close(found.parameters[row], torch.from_numpy(oracle.x), atol=atol, rtol=1e-5)


def test_a_linear_problem_is_solved_as_lstsq_does():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(5, 9, 4, generator=generator, dtype=torch.float64)
    b = torch.randn(5, 9, 1, generator=generator, dtype=torch.float64)
    found = levenberg_marquardt(
        lambda x: (a @ x[..., None] - b)[..., 0], torch.zeros(5, 4, dtype=torch.float64)
    )
    torch.testing.assert_close(
        found.parameters, torch.linalg.lstsq(a, b).solution[..., 0], atol=1e-6, rtol=1e-6
    )
    assert found.steps < 12


def test_a_pose_is_found_from_points():
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    pose = 0.4 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    seen = points @ matrix_from_pose(pose)[:, :2].mT

    def error(x: Tensor) -> Tensor:
        return (points @ matrix_from_pose(x)[:, :2].mT - seen).flatten(1)

    found = levenberg_marquardt(error, torch.zeros(6, 3, dtype=torch.float64))
    torch.testing.assert_close(found.parameters, pose, atol=1e-6, rtol=0)


def test_problems_of_a_batch_do_not_touch_each_other():
    starts = torch.tensor([[-1.2, 1.0], [float("nan"), 0.0], [50.0, -30.0]], dtype=torch.float64)
    together = levenberg_marquardt(rosenbrock, starts, steps=300)
    assert together.converged.tolist() == [True, False, True]
    assert torch.isnan(together.parameters[1, 0])
    for row in (0, 2):
        alone = levenberg_marquardt(rosenbrock, starts[row : row + 1], steps=300)
        torch.testing.assert_close(alone.parameters[0], together.parameters[row])


def test_the_cost_never_rises_and_running_out_of_steps_is_said():
    start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    costs = [float(levenberg_marquardt(rosenbrock, start, steps=n).cost) for n in range(20)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == pytest.approx(0.5 * float(rosenbrock(start).square().sum()))
    assert not levenberg_marquardt(rosenbrock, start, steps=2).converged.any()


def test_a_parameter_without_effect_stays_where_it_is():
    found = levenberg_marquardt(lambda x: x[:, :1] - 3, torch.tensor([[0.0, 7.0]], dtype=torch.float64))
    assert found.converged.all()
    torch.testing.assert_close(found.parameters, torch.tensor([[3.0, 7.0]]).double())


def test_a_start_at_the_minimum_is_kept():
    found = levenberg_marquardt(rosenbrock, torch.ones(1, 2, dtype=torch.float64))
    assert found.converged.all()
    assert found.parameters.tolist() == [[1.0, 1.0]]


def test_the_jacobian_is_that_of_finite_differences_and_a_given_one_is_used():
    x = torch.tensor([[0.3, -0.7], [1.1, 0.2]], dtype=torch.float64)
    step = 1e-6 * torch.eye(2, dtype=torch.float64)
    numeric = torch.stack([(rosenbrock(x + s) - rosenbrock(x - s)) / 2e-6 for s in step], -1)
    torch.testing.assert_close(jacobian_of(rosenbrock)(x), numeric, atol=1e-7, rtol=1e-7)
    calls = []

    def given(at: Tensor) -> Tensor:
        calls.append(len(at))
        return jacobian_of(rosenbrock)(at)

    found = levenberg_marquardt(rosenbrock, x, jacobian=given)
    assert calls == [2] * found.steps
    torch.testing.assert_close(found.parameters, torch.ones(2, 2).double(), atol=1e-6, rtol=0)


def test_the_jacobian_of_a_constant_is_zero():
    assert jacobian_of(lambda x: torch.ones(len(x), 3))(torch.zeros(4, 2)).shape == (4, 3, 2)


@pytest.mark.parametrize("start", [torch.zeros(3), torch.zeros(2, 2, dtype=torch.long)])
def test_other_shapes_are_refused(start: Tensor):
    with pytest.raises(UsageError, match="parameters are"):
        levenberg_marquardt(rosenbrock, start)


def test_residuals_of_another_shape_are_refused():
    with pytest.raises(UsageError, match="residuals"):
        levenberg_marquardt(lambda x: x.sum(1), torch.zeros(2, 2))


def test_a_problem_that_is_done_is_not_moved_by_others_that_go_on():
    starts = torch.tensor([[1.0 + 1e-9, 1.0], [-1.2, 1.0]], dtype=torch.float64)
    alone = levenberg_marquardt(rosenbrock, starts[:1])
    together = levenberg_marquardt(rosenbrock, starts)
    assert alone.steps < together.steps
    assert torch.equal(alone.parameters, together.parameters[:1])


def test_each_rejected_step_doubles_the_growth_of_the_damping():
    """Nielsen's rule: from a start whose every step fails, dampings grow by 2, 4, 8 ... and give up early."""
    tried: list[float] = []

    def uphill(x: Tensor) -> Tensor:
        tried.append(float(x[0, 0]))
        # A cusp that no smooth step may leave: the Jacobian says down, the function goes up.
        return 1.0 + 1e3 * (x - 1.0).abs()

    jacobian = lambda x: torch.ones(len(x), 1, 1, dtype=x.dtype)  # noqa: E731
    found = levenberg_marquardt(
        uphill, torch.ones(1, 1, dtype=torch.float64), jacobian=jacobian, damping=1.0, tolerance=1e-15
    )
    assert found.parameters.tolist() == [[1.0]]
    lengths = [1.0 - x for x in tried[1:6]]
    # step = -1 / (1 + damping), damping 1, 2, 8, 64, 1024.
    assert lengths == pytest.approx([1 / 2, 1 / 3, 1 / 9, 1 / 65, 1 / 1025])
