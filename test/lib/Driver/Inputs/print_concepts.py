"""Prints the concepts of a report, a line each: print_concepts.py REPORT"""
import json
import sys

with open(sys.argv[1]) as file:
    for row in json.load(file)["concepts"]:
        print(row["concept"], f"[{row['nodes']}]",
              "is" if row["matched"] else "is not matched", "in " + row.get("into", "itself"),
              "because " + row["reason"] if "reason" in row else "")
