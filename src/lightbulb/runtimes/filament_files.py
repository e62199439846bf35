"""What the runtimes of files that are no language models share: filament, which alone runs them, loads the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.header import GgufHeader, read_header
from lightbulb.models.kinds.base import text_of_turns
from lightbulb.runtimes.base import ModelForm, ModelInfo, Runtime
from lightbulb.runtimes.registry import check_installed


class FilamentFile(Runtime):
    """A GGUF file that is no language model, loaded into filament.

    There is no template: a prompt is what the turns say, and its tokens are its words (runs of no blanks).

    Args:
        path: the file
        threads: of the processor

    Raises:
        UserError: filament is not installed, or in a version that does not know such files
        ModelError: the file is damaged, or filament cannot run it

    Attributes:
        native: the class of `lightbulb_filament` that runs such a file
    """

    title: ClassVar[str] = "filament"
    opens: ClassVar[ModelForm] = "gguf"
    library: ClassVar[str] = "lightbulb_filament"
    install: ClassVar[str] = "make filament"
    native: ClassVar[str]

    def __init__(self, path: Path, *, threads: int = 1):
        check_installed(self.name)
        import lightbulb_filament

        self.path, header = path, read_header(path)
        try:
            self._model = getattr(lightbulb_filament, self.native)(path, threads=threads)
        except lightbulb_filament.FilamentError as e:
            raise ModelError(
                f"filament cannot run this file: {e}", where=str(path), hint="download or export the file again"
            ) from e
        self.info = self._info(header)

    def _info(self, header: GgufHeader) -> ModelInfo:
        return ModelInfo(str(self.path), header.fields["general.architecture"], bytes=header.bytes)

    @classmethod
    def open(cls, model: Path, *, threads: int = 2, slots: int = 1, context: int = 1024) -> Self:
        """slots and context change nothing: all prompts of a call are worked on at once, and none is cut."""
        return cls(model, threads=threads)

    @classmethod
    def installed(cls) -> bool:
        """Whether filament is there, in a version that knows such files."""
        if not super().installed():
            return False
        import lightbulb_filament

        return hasattr(lightbulb_filament, cls.native)

    @classmethod
    def notes(cls) -> list[str]:
        return ["prompts are answered many in a call, as they would be in bulk", "tokens are words"]

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """What all turns say, one below the other."""
        return text_of_turns(messages)

    def close(self) -> None:
        self.__dict__.pop("_model", None)
