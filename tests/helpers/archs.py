"""Hypothesis strategies of archs, and a small space that networks of tests are drawn from."""

from hypothesis import strategies as st

from etdnn.model import Arch, SearchSpace

TINY = SearchSpace("tiny", (2, 3), (16, 24, 32), (1, 3, 5), (24, 40), in_feats=20, embedding=12)


def archs(space: SearchSpace | None = None) -> st.SearchStrategy[Arch]:
    """Return archs of `space`, or of any size."""
    if space:
        depths, widths = st.sampled_from(space.depths), st.sampled_from(space.widths)
        kernels, cats = st.sampled_from(space.kernels), st.sampled_from(space.cats)
    else:
        widths = cats = st.integers(1, 300).map(lambda value: 8 * value)
        depths, kernels = st.integers(1, 7), st.integers(0, 5).map(lambda value: 2 * value + 1)

    @st.composite
    def draw_arch(draw) -> Arch:
        depth = draw(depths)
        genes = depth + 1
        return Arch(
            depth,
            draw(st.tuples(*[widths] * genes)),
            draw(st.tuples(*[kernels] * genes)),
            draw(cats),
        )

    return draw_arch()
