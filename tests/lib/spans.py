"""Reads what is sent to a collector with OpenTelemetry's own description of it: base64 lines in, JSON lines out."""

import base64
import json
import sys

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

for line in sys.stdin:
    request = ExportTraceServiceRequest.FromString(base64.b64decode(line))
    print(json.dumps(MessageToDict(request)), flush=True)
