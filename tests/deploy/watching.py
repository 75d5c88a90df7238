"""Alerts and dashboard: that they are right, and that what they ask for exists."""

import json
import re
import subprocess
import urllib.request

import tools

PROMETHEUS = tools.ROOT / "deploy/prometheus"
DASHBOARD = tools.ROOT / "deploy/grafana/dashboard.json"


def check(checks, folder):
    import yaml

    alerts = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    code, said = tools.ran("promtool", "check", "rules", PROMETHEUS / "alerts.yaml")
    checks.true("promtool finds nothing wrong with the alerts", code == 0, said)
    code, said = tools.ran("promtool", "test", "rules", PROMETHEUS / "alerts.test.yaml")
    checks.true("each alert rings when it should, with these words", code == 0, said)
    tests = yaml.safe_load((PROMETHEUS / "alerts.test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for rule in rules:
        of_rule = [bool(case["exp_alerts"]) for case in cases if case["alertname"] == rule["alert"]]
        checks.equal(f"{rule['alert']} is tested quiet and ringing", sorted(of_rule), [False, True])

    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    targets = [(panel["title"], target) for panel in panels for target in panel["targets"]]
    queries = {f"panel {title}, {target['refId']}": target["expr"] for title, target in targets}
    queries |= {one["name"]: one["expr"] for one in dashboard["annotations"]["list"]}
    queries |= {one["name"]: one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"}
    checks.true("the dashboard asks for something", len(queries) > 20, len(queries))
    syntax(checks, folder, queries)
    queries |= {rule["alert"]: rule["expr"] for rule in rules}

    page = scraped(folder)
    names = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    # Some are shown only once there is something to show: the program's own list has those too.
    code, said = tools.ran(tools.BINARY, "reference", "metrics")
    listed = set(re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \|", said, re.MULTILINE))
    checks.equal("what is scraped is on the program's list", (code, names - listed), (0, set()))
    names |= listed
    reasons = (tools.ROOT / "src/guard/refusal.rs").read_text()
    checks.true("the page has metrics", "wise_proxy_ready" in names and "process_open_fds" in names, names)
    for name, query in queries.items():
        wanted = {base(metric) for metric in re.findall(r"\b(?:wise_proxy|process)_\w+", query)}
        checks.true(f"{name}: its metrics exist", wanted <= names, sorted(wanted - names))
        for label, values in re.findall(r'(type|result|reason|lane)(?:!?=~?)"([^"]*)"', query):
            for value in values.split("|"):
                known = f'{label}="{value}"' in page or label == "reason" and f'"{value}"' in reasons
                checks.true(f"{name}: {label} can be {value}", known)
    used = " ".join(queries.values())
    unused = {name for name in names if name.startswith("wise_proxy_") and name not in used}
    checks.equal("every metric of ours is watched somewhere", unused, set())
    placed(checks, dashboard["panels"])


def base(metric):
    return re.sub(r"_(bucket|sum|count)$", "", metric) if "duration" in metric else metric


def syntax(checks, folder, queries):
    """promtool reads rules only, so each query becomes one."""
    rules = []
    for number, (name, query) in enumerate(queries.items()):
        if query.startswith("label_values("):
            continue
        query = query.replace("$__rate_interval", "5m")
        rules.append({"record": f"query:{number}", "expr": query, "labels": {"from": name}})
    path = folder / "dashboard.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, said = tools.ran("promtool", "check", "rules", path)
    checks.true("every query of the dashboard is PromQL", code == 0, said)


def scraped(folder):
    """The metrics page of a proxy with a grant, a certificate and every lane."""
    with tools.Simulator(folder / "wise") as wise:
        socket = folder / "wise/admin.sock"
        log = tools.Log()
        process = subprocess.Popen(
            [tools.BINARY, "run", "--config", wise.places["config"], "--set", f"admin.socket={socket}"]
            # One that need not be there: nobody is told anything.
            + ["--set", 'notify.command=["/bin/true"]']
            + ["--set", 'door=[{address="127.0.0.1:0"}]', "--set", "admin.address=127.0.0.1:0"],
            stderr=log.file,
        )
        try:
            address = log.until(process, r"status on (http://[^/\s]+)/")[1]
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(f"{address}/metrics", timeout=tools.PATIENCE) as page:
                return page.read().decode()
        finally:
            tools.end(process)


def placed(checks, panels):
    """No panel lies on another."""
    taken = {}
    for panel in panels:
        grid = panel["gridPos"]
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"] or x >= 24:
                    return checks.true("no panel lies on another", False, (panel["title"], other, x, y))
    checks.equal("every panel has a number of its own", len({p["id"] for p in panels}), len(panels))
    return checks.true("no panel lies on another", True)
