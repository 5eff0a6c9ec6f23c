"""Checks a report of `ferrite compile`: check_report.py REPORT ATTENTIONS

It must be what the README and tools rely on: every candidate of every fusion, each
with its node and, when it did not fuse, its reason; kernels; memory; seconds.
"""
import json
import sys


def main():
    with open(sys.argv[1]) as file:
        report = json.load(file)
    fusions = {fusion["kind"]: fusion for fusion in report["fusions"]}
    attention = fusions["attention"]
    assert attention["fused"] == attention["candidates"] == int(sys.argv[2]), attention
    for fusion in report["fusions"]:
        records = fusion["records"]
        assert len(records) == fusion["candidates"], fusion
        assert sum(record["fused"] for record in records) == fusion["fused"], fusion
        for record in records:
            assert record["node"], record
            assert record["fused"] or record["reason"], record
    # Every attention, norm, activation and product, once: matched or with a reason.
    concepts = report["concepts"]
    attentions = [row for row in concepts if row["concept"] == "attention"]
    assert len(attentions) == int(sys.argv[2]), attentions
    for row in concepts:
        assert row["nodes"], row
        assert row["matched"] or (row["reason"] and row["into"]), row
    assert all(row["nodes"].count(",") >= 2 for row in attentions), attentions
    assert {"linear", "layer norm"} <= {row["concept"] for row in concepts}, concepts
    launches = sum(kernel["launches"] for kernel in report["kernels"])
    assert launches == report["launches"] > 0, report["kernels"]
    assert report["onnx_nodes"] > report["launches"]
    assert report["levels"] == ["avx2"], report["levels"]
    assert {symbol["name"] for symbol in report["symbols"]} >= {"batch", "sequence"}
    for shape in report["arena"]:
        assert 0 < shape["lower_bound"] <= shape["planned"] <= shape["naive"], shape
    names = [phase["name"] for phase in report["phases"]]
    assert names == "import normalize fuse quantize sparsify select plan codegen link".split(), names
    assert 0 < sum(phase["seconds"] for phase in report["phases"]) <= report["seconds"]
    assert report["weights_bytes"] > 0 and report["artifact_bytes"] > report["weights_bytes"]


main()
