"""How a bot stands, for people and scripts: what answers now, its proof, its publications."""

from __future__ import annotations

from typing import Any, Final

from worker.cli.printing import Console, Text
from worker.core.shown import plain
from worker.db.publication.of_bot import Part, Proof, TakenBack
from worker.steps.versions.standing import Standing

PARTS_SHOWN: Final = 5
_TIME: Final = "%Y-%m-%d %H:%M:%S UTC"


def standing_fields(found: Standing) -> dict[str, Any]:
    """How a bot stands, as JSON."""
    return {
        "answers": found.answers,
        "proof": found.proof,
        "publications": found.parts,
        "taken_back": found.taken_back,
    }


def print_disagreement(out: Console, found: Standing) -> None:
    """Say it if a publication believes something else than what is live."""
    if found.answers.agrees:
        return
    part = next((one for one in found.parts if one.is_live), None)
    if part is None:
        said = "the publication took it back: use_workflow_v2 was set outside flowshift since"
    else:
        said = (
            f"publication {part.publication_id} counts {plain(part.version or '')} as live: the flag or a"
            " version was changed outside flowshift since"
        )
    out.print(Text(said, "yellow"))


def print_standing(out: Console, found: Standing) -> None:
    """Print a bot's proof, its publications, and when it was taken back last."""
    print_disagreement(out, found)
    if found.proof is not None:
        out.print(Text(_proof(found.proof)))
    for part in found.parts[:PARTS_SHOWN]:
        out.print(_part(part))
    if (more := len(found.parts) - PARTS_SHOWN) > 0:
        out.print(f"… and {more:,} more publications")
    if found.taken_back is not None:
        out.print(Text(_taken_back(found.taken_back)))


def _proof(proof: Proof) -> str:
    if proof.is_draft:
        what = "the draft is that content" if proof.is_v1 else "V1 has changed since"
    elif proof.versions:
        what = f"{plain(proof.versions[0])} is that content"
    else:
        what = "the draft has changed since"
    return f"proven by run {proof.run_id}, {proof.proven_at:{_TIME}}: {what}"


def _part(part: Part) -> Text:
    label = f" ({plain(part.label)})" if part.label else ""
    line = Text(f"publication {part.publication_id}, wave {part.wave}{label}")
    line.append(f"  {part.moved_at:{_TIME}}  ")
    style = {"published": "green", "confirmed": "green", "pending": "", "skipped": "yellow"}
    line.append(part.state.replace("_", " "), style.get(part.state, "red"))
    if part.version is not None:
        line.append(f" {plain(part.version)}")
    if part.code is not None:
        line.append(f" {part.code}")
    if part.message is not None:
        line.append(f": {part.message}")
    return line


def _taken_back(last: TakenBack) -> str:
    by = f" by {last.actor}" if last.actor else ""
    why = f": {last.reason}" if last.reason else ""
    return f"last taken back {last.at:{_TIME}}{by} (publication {last.publication_id}){why}"
