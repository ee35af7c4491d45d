"""The multiplane renderer: closed forms, the kernel against the twin in double precision, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.mpi_cases import assert_close, gradients, make_case, render

from lineament.errors import DataError, UsageError


def front(texture: int, planes: int) -> dict[str, torch.Tensor]:
    """A camera that sees each texel of every plane as one pixel."""
    case = make_case(planes=planes, texture=(texture, texture), size=(texture, texture))
    step = 0.3 / (texture - 1)
    table = case.planes.clone()
    table[:, 1:] = (0.3 * table[:, 0] / table[0, 0])[:, None]
    rays = torch.tensor([[step, 0, -0.15], [0, step, -0.15], [0, 0, 1]], dtype=torch.float64) / float(
        table[0, 0]
    )
    rays[2, 2] = 1
    return {"planes": table, "rays": rays[None], "eye": torch.zeros(1, 3, dtype=torch.float64)}


@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_an_opaque_plane_is_seen_as_it_is(impl):
    case = make_case(planes=3, texture=(12, 12), size=(12, 12), colours="each")
    case = replace(case, alpha=torch.ones_like(case.alpha), **front(12, 3)).to(torch.float32)
    image, depth, opacity = render(case, impl=impl, outside="raise")
    torch.testing.assert_close(image[0], case.colour[0, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(depth, torch.full((1, 12, 12), 0.95))
    torch.testing.assert_close(opacity, torch.ones(1, 12, 12))


@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_two_panes_of_glass(impl):
    case = make_case(planes=2, texture=(9, 9), size=(9, 9), colours="background")
    alpha = torch.full_like(case.alpha, 0.25)
    case = replace(
        case,
        alpha=alpha,
        colour=torch.full_like(case.colour, 0.8),
        background=torch.full_like(case.colour, 0.4),
        **front(9, 2),
    ).to(torch.float32)
    image, depth, opacity = render(case, impl=impl)
    torch.testing.assert_close(image, torch.full_like(image, 0.25 * 0.8 + 0.75 * 0.25 * 0.4))
    torch.testing.assert_close(depth, torch.full_like(depth, 0.25 * 0.95 + 0.75 * 0.25 * 1.12))
    torch.testing.assert_close(opacity, torch.full_like(opacity, 1 - 0.75**2))


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 2),
    views=st.integers(1, 3),
    planes=st.integers(1, 6),
    texture=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    colours=st.sampled_from(["shared", "background", "each"]),
    reach=st.sampled_from([0.05, 0.3, 0.9]),
    roll=st.sampled_from([0.0, 0.7]),
    empty=st.sampled_from([0.0, 0.6, 1.0]),
    outside=st.sampled_from(["zero", "clamp"]),
)
def test_the_kernel_equals_the_twin_in_double_precision(outside, **options):
    case = make_case(**options)
    expected = render(case, impl="reference", outside=outside)
    assert_close(render(case.to(torch.float32), impl="numba", outside=outside), expected, 5e-6)
    wanted = gradients(case, impl="reference", outside=outside)
    assert_close(gradients(case.to(torch.float32), impl="numba", outside=outside), wanted, 2e-5)


@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_random_texels_at_256_pixels_are_exact(impl):
    case = make_case(planes=24, texture=(256, 256), size=(256, 256), colours="shared")
    wanted = render(case, impl="reference")
    assert_close(render(case.to(torch.float32), impl=impl), wanted, 2e-5)


def test_gradients_of_the_twin_are_those_of_finite_differences():
    case = make_case(planes=3, texture=(4, 5), size=(6, 5), views=2, colours="background")

    def results(alpha, colour, background):
        return tuple(
            render(replace(case, alpha=alpha, colour=colour, background=background), impl="reference")
        )

    leaves = [t.clone().requires_grad_() for t in (case.alpha, case.colour, case.background)]
    assert torch.autograd.gradcheck(results, leaves)


def solid(seed: int = 0):
    """Opaque from a slanted surface on, nothing before."""
    case = make_case(planes=40, texture=(64, 64), size=(64, 64), reach=0.3, seed=seed)
    surface = torch.linspace(5, 36, 64).expand(64, 64) + torch.linspace(-4, 4, 64)[:, None]
    k = torch.arange(40.0)[:, None, None]
    alpha = ((k >= surface) & (k < surface + 3)).double()[None]
    alpha[:, -1] = 1
    return replace(case, alpha=alpha)


@pytest.mark.parametrize("make", [solid, lambda: make_case(planes=48, texture=(64, 64), size=(64, 64))])
def test_stopping_early_costs_less_than_twice_its_share(make):
    case = make()
    wanted, single = render(case, impl="reference"), case.to(torch.float32)
    assert_close(render(single, stop=1e-4), wanted, 2e-4)
    assert not torch.equal(render(single, stop=0.3).image, render(single).image)
    slopes = gradients(case, impl="reference")
    assert_close(gradients(single), slopes, 5e-6)
    assert_close(gradients(single, stop=1e-4), slopes, 1e-4)


def test_many_faint_planes_are_not_lost_when_stopping_early():
    case = make_case(planes=64, texture=(32, 32), size=(32, 32))
    faint = replace(case, alpha=torch.full_like(case.alpha, 1e-4 / 128), colour=torch.ones_like(case.colour))
    assert_close(render(faint.to(torch.float32), stop=1e-4), render(faint, impl="reference"), 2e-4)
    more = replace(faint, alpha=torch.full_like(case.alpha, 2e-6))
    assert_close(render(more.to(torch.float32), stop=1e-4), render(more, impl="reference"), 1e-6)


@pytest.mark.parametrize("roll", [0.0, 1.6])
def test_no_bit_depends_on_the_number_of_threads(roll):
    case = make_case(2, 9, (70, 66), (80, 100), views=2, colours="background", roll=roll).to(torch.float32)

    def everything() -> list[torch.Tensor]:
        return [*render(case), *gradients(case)]

    before = torch.get_num_threads()
    found = {}
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found[threads] = everything()
    finally:
        torch.set_num_threads(before)
    for threads in (2, 5):
        assert all(torch.equal(a, b) for a, b in zip(found[1], found[threads], strict=True))


@pytest.mark.parametrize("colours", ["shared", "background", "each"])
def test_views_of_an_image_share_its_textures(colours):
    case = make_case(2, 5, views=3, colours=colours).to(torch.float32)
    together, slopes = render(case), gradients(case)
    apart = []
    for number in range(6):
        one = slice(number // 3, number // 3 + 1)
        apart.append(
            replace(
                case,
                alpha=case.alpha[one],
                colour=case.colour[one],
                background=None if case.background is None else case.background[one],
                eye=case.eye[number : number + 1],
                rays=case.rays[number : number + 1],
                weights=tuple(w[number : number + 1] for w in case.weights),  # type: ignore[arg-type]
            )
        )
    for k, result in enumerate(together):
        assert torch.equal(result, torch.cat([render(each)[k] for each in apart]))
    for k, slope in enumerate(slopes):
        sums = torch.stack([gradients(each)[k][0] for each in apart]).unflatten(0, (2, 3)).sum(1)
        torch.testing.assert_close(slope, sums, atol=1e-5, rtol=1e-5)


def test_what_is_not_a_number_is_seen():
    case = make_case(planes=4, empty=1.0).to(torch.float32)
    case.alpha[0, 2, 10, 12] = torch.nan
    found, expected = render(case), render(case, impl="reference")
    assert bool(found.image.isnan().any())
    assert torch.equal(found.opacity.isnan(), expected.opacity.isnan())


def test_the_border_is_repeated_on_the_last_plane_alone():
    case = make_case(planes=2, size=(16, 16), reach=0.0, colours="shared").to(torch.float32)
    case = replace(
        case,
        alpha=torch.ones_like(case.alpha),
        colour=torch.ones_like(case.colour),
        rays=case.rays * torch.tensor([[8.0], [8.0], [1.0]]).double(),
    )
    clamped, empty = render(case, outside="clamp"), render(case, outside="zero")
    torch.testing.assert_close(clamped.opacity, torch.ones(1, 16, 16))
    assert float(clamped.image[0, 0, 0, 0]) == pytest.approx(1)
    # The corners see past the first plane: the depth there is that of the last.
    assert float(clamped.depth[0, 0, 0]) == pytest.approx(1.12) and float(clamped.depth[0, 8, 8]) < 1
    assert float(empty.image[0, 0, 0, 0]) == 0 and float(empty.image[0, 0, 8, 8]) == 1


def test_textures_may_be_views_of_other_tensors():
    case = make_case(2, 4, colours="each").to(torch.float32)
    rgba = torch.cat([case.colour, case.alpha[:, :, None]], 2)
    cut = replace(case, alpha=rgba[:, :, 3], colour=rgba[:, :, :3])
    assert all(torch.equal(a, b) for a, b in zip(render(case), render(cut), strict=True))


def test_gradients_of_gradients_are_refused():
    case = make_case().to(torch.float32)
    alpha = case.alpha.requires_grad_()
    (slope,) = torch.autograd.grad(render(case).image.sum(), alpha, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        slope.sum().backward()


def changed(**values: object):
    return lambda case: replace(case, **values)


@pytest.mark.parametrize(
    ("change", "options", "error", "sentence"),
    [
        (lambda c: c, {"outside": "rise"}, UsageError, "did you mean 'raise'"),
        (lambda c: c, {"impl": "numbra"}, UsageError, "did you mean 'numba'"),
        (lambda c: c.to(torch.float64), {"impl": "numba"}, UsageError, "needs float32 on a CPU"),
        (lambda c: c, {"stop": 1.0}, UsageError, "from 0 .exact. to below 1, not 1.0"),
        (changed(height=0), {}, UsageError, "at least one row"),
        (lambda c: replace(c, alpha=c.alpha[0]), {}, DataError, "alpha must be"),
        (lambda c: replace(c, colour=c.colour[:, :2]), {}, DataError, "colour must be"),
        (lambda c: replace(c, background=c.colour[:, :, :-1]), {}, DataError, "background"),
        (lambda c: replace(c, planes=c.planes[:-1]), {}, DataError, r"planes must be \[7, 3\]"),
        (lambda c: replace(c, planes=c.planes.flip(0)), {}, DataError, "nearest first"),
        (lambda c: replace(c, eye=c.eye[:0]), {}, DataError, "multiple of 1"),
        (lambda c: replace(c, eye=c.eye + 2), {}, UsageError, "behind the first plane"),
        (lambda c: replace(c, rays=-c.rays), {}, UsageError, "looks away"),
        (lambda c: replace(c, rays=3 * c.rays), {"outside": "raise"}, UsageError, None),
        (
            lambda c: replace(c, eye=c.eye + torch.tensor([0.3, 0, 0])),
            {"outside": "raise"},
            UsageError,
            "rays of view 0 pass the last plane by",
        ),
    ],
)
def test_impossible_requests_are_refused(change, options, error, sentence):
    case = change(make_case(reach=0.0).to(torch.float32))
    if sentence is None:
        # Rays of any length are the same rays.
        assert_close(
            render(case, outside="zero")[:1], render(make_case(reach=0.0).to(torch.float32))[:1], 1e-6
        )
        return
    with pytest.raises(error, match=sentence):
        render(case, **options)
