"""What trivy did not look at: its log tells that at best, and it ends with exit code 0 even so."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from rediver_agent import Notice, ToolError
from rediver_trivy._options import Options

_LINE: Final = re.compile(r"^\S+\s+(ERROR|WARN)\s+(.+)$", re.MULTILINE)
_FATAL: Final = re.compile(r"\sFATAL\s+(?:Fatal error\s+)?(.+)", re.DOTALL)
_QUOTED: Final = re.compile(r'\s*cause="(?:[^"\\]|\\.)*"')  # a line of the target
_OF_A_FILE: Final = re.compile(r"`[^`]*`")  # what YAML's reader quotes
_FILE: Final = re.compile(r'file_path="([^"]+)"')
_FILES: Final = re.compile(
    r"INFO\s+(Number of language-specific|Detected config) files\s+num=(\d+)"
)
_SYSTEM: Final = re.compile(r'INFO\s+Detected OS\s+family="([^"]+)" version="([^"]*)"')
_FIRST_WORDS: Final = ("canning is enabled",)
_BUILT_IN: Final = "Falling back to embedded checks"  # as --skip-check-update asks
_MODULE: Final = "Failed to load module"
_MAX_LOG: Final = 16 << 20  # characters; a log beyond that is not read to its end
_MAX_MESSAGE: Final = 500
_TOLD: Final = 20  # complaints of each level that are told in full

# What trivy's last words mean, and what helps.
_ADVICE: Final = {
    "archive image": "`input` is no archive of one image: write it with `docker save`",
    "failed to extract the archive": "the image's archive is cut off or damaged",
    "SBOM decode error": "`input` is no bill of materials that trivy knows: CycloneDX or SPDX",
    "secret config error": "see the file that `secret_config` names",
    "rego_": "see the checks that `config_check` names",
    "ignore file": "see the file that `ignorefile` names",
    "VEX error": "see the documents that `vex` names",
    "Java DB": "jar files need trivy's Java database: fetch it with `trivy image "
    "--download-java-db-only --cache-dir {cache}`, or set offline: false",
    "may be in use by another process": "another trivy holds {cache}; wait for its end",
}


@dataclass(frozen=True, slots=True)
class Log:
    """What trivy wrote on stderr in a run that ended well."""

    text: str

    @classmethod
    def of(cls, file: Path) -> "Log":
        """The log, as far as it is read."""
        with file.open(encoding="utf-8", errors="replace") as stream:
            return cls(stream.read(_MAX_LOG))

    def counted(self) -> dict[str, JsonValue]:
        """How many files it looked into, by what it says itself."""
        names = {"Number of language-specific": "package_files", "Detected config": "config_files"}
        found: dict[str, JsonValue] = {
            names[what]: int(number) for what, number in _FILES.findall(self.text)
        }
        if system := _SYSTEM.search(self.text):
            found["system"] = f"{system[1]} {system[2]}".strip()[:100]
        return found

    def complaints(self, options: Options) -> Iterator[Notice]:
        """A notice for each file that was not understood, and what else was not looked at."""
        if not any(words in self.text for words in _FIRST_WORDS) or len(self.text) >= _MAX_LOG:
            yield Notice("warning", "trivy's log is too long to tell whether it read every file")
        told: Counter[str] = Counter()
        for level, text in dict.fromkeys(_LINE.findall(self.text)):
            if _BUILT_IN in text and options.offline:
                continue
            notice = _complaint(level, text, options)
            told[notice.level] += 1
            if told[notice.level] <= _TOLD:
                yield notice
        for level in ("warning", "info"):
            if told[level] > _TOLD:
                yield Notice(level, f"trivy said {told[level] - _TOLD} things more of that kind")
        yield from self._nothing_to_match(options)

    def _nothing_to_match(self, options: Options) -> Iterator[Notice]:
        """No package is no vulnerability: a clean that proves nothing."""
        known = self.counted()
        if "vuln" not in options.scanners or known.get("package_files") or "system" in known:
            return
        said = "trivy found no packages to look up vulnerabilities of"
        if options.kind == "fs":  # a folder without any is usual
            yield Notice("info", f"{said} (it does not look into jar files of a folder)")
        else:
            yield Notice("warning", f"{said} in {options.input}")


def failure(fault: ToolError, cache: Path) -> ToolError:
    """The same error in trivy's own last words, with what helps."""
    words = last_words(fault)
    advice = next((said for sign, said in _ADVICE.items() if sign in words), None)
    sentence = f"trivy could not scan: {words}"
    if advice:
        sentence = f"{advice.format(cache=cache)} ({sentence})"
    return ToolError(sentence, exit_code=fault.exit_code, stderr_tail=fault.stderr_tail)


def last_words(fault: ToolError) -> str:
    """What trivy ended with, in one line and without what it quotes of files."""
    fatal = _FATAL.search(fault.stderr_tail)
    said = _OF_A_FILE.sub("…", " ".join(fatal[1].split())) if fatal else str(fault)
    return said[:_MAX_MESSAGE]


def _complaint(level: str, text: str, options: Options) -> Notice:
    named = _FILE.search(text)
    fetching = options.offline and _MODULE in text
    expected = (level == "WARN" and "kipping" not in text) or fetching or _BUILT_IN in text
    return Notice(
        "info" if expected else "warning",
        f"trivy: {_QUOTED.sub('', text)}"[:_MAX_MESSAGE],
        path=named[1] if named else None,
    )
