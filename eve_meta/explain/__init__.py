"""Why a guest does, or doesn't, get its metadata: facts in, steps out. The functions are pure.

``facts.py`` defines what must be known. ``host_path.py``, ``dhcp.py``, ``traffic.py`` and ``guest_machine.py`` judge it
step by step, along the path of a request; ``ds_identify.py`` predicts the guest's datasource and ``imds.py`` what
systemd asks there; ``report.py`` joins the steps. The facts are gathered elsewhere: by the daemon in
``admin/explain.py`` and by the command in ``cli/gather.py``.
"""
