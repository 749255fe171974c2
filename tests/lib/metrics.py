"""Reads metrics as Prometheus' own libraries do, strictly: from standard input, as JSON to standard output."""

import json
import sys

from prometheus_client import openmetrics, parser
import prometheus_client.openmetrics.parser

text = sys.stdin.read()
read = openmetrics.parser if sys.argv[1] == "openmetrics" else parser
families = []
for family in read.text_string_to_metric_families(text):
    samples = [{"name": s.name, "labels": s.labels, "value": str(s.value)} for s in family.samples]
    families.append({"name": family.name, "type": family.type, "help": family.documentation, "samples": samples})
json.dump(families, sys.stdout)
