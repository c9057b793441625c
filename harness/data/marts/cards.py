"""What a mart says of itself: Croissant for machines, a README for people. Neither holds a time or a path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.spec.marts import Mart

CONFORMS = "http://mlcommons.org/croissant/1.1"
_PARQUET, _JSONL = "application/x-parquet", "application/jsonlines"
_TYPES = {
    "BOOLEAN": "sc:Boolean", "TINYINT": "sc:Integer", "SMALLINT": "sc:Integer", "INTEGER": "sc:Integer",
    "BIGINT": "sc:Integer", "HUGEINT": "sc:Integer", "FLOAT": "sc:Float", "DOUBLE": "sc:Float", "DATE": "sc:Date",
    "TIMESTAMP": "sc:DateTime", "TIMESTAMP WITH TIME ZONE": "sc:DateTime",
}  # fmt: skip
# The context that the format's specification prescribes.
_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "samplingRate": "cr:samplingRate", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform", "arrayShape": "cr:arrayShape", "isArray": "cr:isArray",
}  # fmt: skip


def croissant(mart: Mart, manifest: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The dataset as Croissant 1.1 (MLCommons 2026): every file with its sha256, every split as a record set."""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": mart.name,
        "description": mart.description or mart.name,
        "license": mart.licence,
        "version": f"1.0.0+{manifest['digest'][:12]}",
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": name,
                "name": name,
                "contentUrl": name,
                "contentSize": f"{(folder / name).stat().st_size} B",
                "encodingFormat": _PARQUET if name.endswith(".parquet") else _JSONL,
                "sha256": digest,
            }
            for name, digest in sorted(manifest["files"].items())
        ],
        "recordSet": [_record_set(mart, split, manifest["columns"]) for split in mart.splits],
    }


def _record_set(mart: Mart, split: str, columns: Mapping[str, str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"The rows of the split {split}.",
        "key": [{"@id": f"{split}/{name}"} for name in mart.key],
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{split}/{name}",
                "name": name,
                "description": _column(mart, name),
                "dataType": _TYPES.get(kind, "sc:Text"),
                "source": {"fileObject": {"@id": f"{split}.parquet"}, "extract": {"column": name}},
            }
            for name, kind in columns.items()
        ],
    }


def _column(mart: Mart, name: str) -> str:
    if name in mart.labels:
        return f"label: {', '.join(mart.labels[name])}"
    if name in mart.text:
        return "text" if mart.anonymise is None else "text, personal data replaced by placeholders"
    if name in mart.key:
        return "key"
    return "group: its rows stand in one split" if name == mart.group else "column"


def readme(mart: Mart, manifest: Mapping[str, Any]) -> str:
    """Counts, what was left out and why, licences and known biases, in Markdown."""
    return "\n".join(_readme(mart, manifest)) + "\n"


def _readme(mart: Mart, manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"# {mart.name}", "", mart.description.strip() or "A mart.", "")
    yield from (f"Licence: {mart.licence}. Digest of its rows: `{manifest['digest']}`.", "", "## Splits", "")
    yield from ("| split | share | rows | groups |", "|---|---|---|---|")
    for name, share in mart.splits.items():
        yield f"| {name} | {share:g} | {manifest['counts'][name]} | {manifest['groups'][name]} |"
    yield from ("", f"Rows with the same `{mart.group}` stand in one split, by a hash of it.")
    yield from _labels(mart, manifest)
    yield from ("", "## Sources", "", "| source | rows read | kept aside | licence |", "|---|---|---|---|")
    for name, source in mart.sources.items():
        aside = sum(manifest["set_aside"].get(name, {}).values())
        yield f"| {name} ({source.format}) | {manifest['read'][name] + aside} | {aside} | {source.licence} |"
    yield from ("", "## Left out", "", "| reason | rows |", "|---|---|")
    for reason, count in manifest["drops"].items():
        yield f"| {reason} | {count} |"
    for source, reasons in manifest["set_aside"].items():
        yield from (f"| {source}: {reason} | {count} |" for reason, count in reasons.items())
    yield from ("", "## Known biases", "")
    yield from (f"- {bias}" for bias in mart.biases or ("None is written down in mart.yaml.",))


def _labels(mart: Mart, manifest: Mapping[str, Any]) -> Iterator[str]:
    for label, counts in manifest["labels"].items():
        yield from ("", f"## Label `{label}`", "", f"| value | {' | '.join(mart.splits)} |")
        yield "|---" * (1 + len(mart.splits)) + "|"
        for value in (*mart.labels[label], ""):
            row = [counts.get(split, {}).get(value, 0) for split in mart.splits]
            if value or any(row):
                yield f"| {value or '(not labelled)'} | {' | '.join(map(str, row))} |"
        if doubtful := manifest["review"].get(label):
            yield from ("", f"{doubtful} rows whose label the others contradict are listed in `review.jsonl`.")
