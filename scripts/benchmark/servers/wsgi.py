"""A metadata service built as nova's is: webob's requests and responses, JSON made for each, eventlet's server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import eventlet
import eventlet.wsgi
import webob
import webob.dec


def main() -> None:
    """Serve the document at the path ``sys.argv[2]`` on the port ``sys.argv[1]``."""
    document = json.loads(Path(sys.argv[2]).read_bytes())

    @webob.dec.wsgify  # type: ignore[untyped-decorator,unused-ignore]
    def application(request: webob.Request) -> webob.Response:
        if request.path_info != "/openstack/latest/meta_data.json":
            return webob.Response(status=404)
        return webob.Response(body=json.dumps(document).encode(), content_type="application/json", charset="UTF-8")

    listener = eventlet.listen(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    eventlet.wsgi.server(listener, application, log_output=False, max_size=8192)


if __name__ == "__main__":
    main()
