"""A text that is told again and again, of which only the lines that changed are painted."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widgets import Static


class Lines(Static):
    """Like Static. Its owner calls `show`."""

    def __init__(self) -> None:
        super().__init__()
        self._strips: list[Strip] = []
        self._only: list[Region] | None = None

    def show(self, content: Content, least: int) -> None:
        """Another text; ``least``: lines that it takes at least."""
        width, height = self.size
        if not width:  # it has no place on the screen yet
            self.update(content)
            return
        old = self._strips
        strips = Visual.to_strips(self, content, width, None, self.visual_style)
        # A layout costs as much as all else: only where the text gets another height.
        layout = max(len(strips), least) != height
        if old and not layout:
            # Those that look the same keep what was worked out for them.
            strips[: len(old)] = [was if was == new else new for was, new in zip(old, strips, strict=False)]
            was, now = old + [None] * (height - len(old)), strips + [None] * (height - len(strips))
            self._only = [Region(0, y, width, 1) for y in range(height) if was[y] is not now[y]]
        self.update(content, layout=layout)
        self._only, self._strips = None, strips

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Lines:
        """Paint again: of another text what is different, else (other colours, another size) everything."""
        if self._only is not None:
            if self._only:
                super().refresh(*self._only)
            return self
        self._strips = []
        super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    def render_line(self, y: int) -> Strip:
        """One line; what is selected with the mouse is painted by Textual."""
        strips = self._strips
        if y < len(strips) and strips[y].cell_length <= self.size.width and self.text_selection is None:
            return strips[y]
        return super().render_line(y)
