"""Compose file and Kubernetes manifests, against their published schemas."""

import json
import stat

import able
import image
import tools

VOLUME = "/var/lib/wise-auth-proxy"
KUBERNETES = tools.ROOT / "deploy/kubernetes"

# Native sidecars with a `sleep` hook are in all of these.
VERSIONS = ["1.30", "1.33", "1.37"]


def check(checks, folder):
    compose(checks)
    documents = []
    for path in sorted(KUBERNETES.glob("*.yaml")):
        documents += against_schemas(checks, path)
    for document in documents:
        template = document.get("spec", {}).get("template")
        if template:
            restricted(checks, document["kind"], template["spec"])
    if why := able.root():
        tools.skip(checks, "files as a pod's volume holds them", why)
    else:
        configuration(checks, folder, documents)
    unique = {(document["kind"], document["metadata"]["name"]) for document in documents}
    checks.equal("no two manifests are of one name", len(unique), len(documents))


def compose(checks):
    import jsonschema
    import yaml

    file = yaml.safe_load((tools.ROOT / "deploy/compose.yaml").read_text())
    schema = tools.compose_schema()
    validator = jsonschema.validators.validator_for(schema)(schema)
    found = [error.message for error in validator.iter_errors(file)]
    checks.equal("the compose file is one", found, [])
    broken = {**file, "services": {"proxy": {"imagine": "wise-auth-proxy"}}}
    found = [error.message for error in validator.iter_errors(broken)]
    checks.true("and the schema would find a mistake", found)
    for name, service in file["services"].items():
        hardened = service["read_only"] and service["cap_drop"] == ["ALL"] and service["user"] == "65532:65532"
        checks.true(f"the service {name} may do nothing but its work", hardened, service)


def against_schemas(checks, path):
    import kubernetes_validate
    import yaml

    documents = list(yaml.safe_load_all(path.read_text()))
    for version in VERSIONS:
        for document in documents:
            what = f"{path.name}: {document['kind']} is one of Kubernetes {version}"
            try:
                kubernetes_validate.validate(document, version, strict=True)
                checks.true(what, True)
            except kubernetes_validate.ValidationError as error:
                checks.true(what, False, error.message)
    return documents


def restricted(checks, kind, pod):
    """The pod security standard of that name."""
    context = pod["securityContext"]
    checks.true(f"{kind}: no container is root", context["runAsNonRoot"] and context["runAsUser"])
    checks.equal(f"{kind}: seccomp", context["seccompProfile"]["type"], "RuntimeDefault")
    kinds = {next(key for key in volume if key != "name") for volume in pod["volumes"]}
    allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
    checks.true(f"{kind}: nothing of the node's", kinds <= allowed, kinds)
    for container in [*pod["initContainers"], *pod["containers"]]:
        own = container["securityContext"]
        narrow = not own["allowPrivilegeEscalation"] and own["capabilities"] == {"drop": ["ALL"]}
        checks.true(f"{kind}: {container['name']} has no capability", narrow, own)
        checks.true(f"{kind}: {container['name']} writes to volumes only", own["readOnlyRootFilesystem"])
        claimed = {mount["name"] for mount in container.get("volumeMounts", [])}
        there = {volume["name"] for volume in pod["volumes"]}
        checks.true(f"{kind}: {container['name']} has its volumes", claimed <= there, claimed - there)
    proxy = pod["initContainers"][0]
    checks.equal(f"{kind}: a sidecar", proxy["restartPolicy"], "Always")
    checks.true(f"{kind}: its end is not hurried", pod["terminationGracePeriodSeconds"] > 70)
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"]:
        if probe in proxy:
            command = [str(tools.BINARY), *proxy[probe]["exec"]["command"][1:], "--socket", "/nowhere"]
            code, said = tools.ran(*command)
            checks.true(f"{kind}: the {probe} is a command of ours", code == 69 and "no proxy" in said, said)


def configuration(checks, folder, documents):
    """The proxy reads its part of the manifest, with files as such a volume holds them."""
    maps = [document for document in documents if document["kind"] == "ConfigMap"]
    text = maps[0]["data"]["config.toml"].replace("/etc/wise-auth-proxy/secrets", str(folder))
    text = text.replace(VOLUME, str(folder))
    config = folder / "config.toml"
    config.write_text(text)
    config.chmod(0o644)
    secret = next(document for document in documents if document["kind"] == "Secret")
    pair(folder)
    made = {name: (folder / name).read_text() for name in ("client.pem", "client.key")}
    for name, value in {**secret["stringData"], **made}.items():
        path = folder / name
        path.write_text(value)
        path.chmod(stat.S_IRUSR | stat.S_IRGRP)
        tools.ran("chown", "root:65532", path)
    identity = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups"]
    code, said = tools.ran(*identity, tools.BINARY, "config", "check", "--secrets", "--config", config)
    checks.true("the configuration and the secrets of the manifest can be used", code == 0, said)
    # Variables win over the file, and a volume's root belongs to a group.
    variables = {name: value.replace(VOLUME, str(folder)) for name, value in image.image()["env"].items()}
    shown = [tools.BINARY, "config", "show", "--json", "--config", config]
    path = json.loads(tools.ran(*shown, env=variables)[1])["store.path"]["value"]
    checks.equal("in the image, too, the store is no volume's root", path, f"{folder}/state")
    (folder / "client.pem").write_text(secret["stringData"]["client.pem"])
    code, said = tools.ran(*identity, tools.BINARY, "config", "check", "--secrets", "--config", config)
    checks.true("the manifest's own stand-in for a certificate cannot", code == 64 and "mtls: " in said, said)
    (folder / "client.pem").write_text(made["client.pem"])
    tools.ran("chmod", "0444", folder / "client_secret")
    code, said = tools.ran(*identity, tools.BINARY, "config", "check", "--secrets", "--config", config)
    checks.true("a secret that everybody may read cannot", code != 0 and "may be read by others" in said, said)


def pair(folder):
    """A certificate and its key, for the place of those that Wise gives."""
    code, said = tools.ran(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=wise-auth-proxy",
        "-keyout", folder / "client.key", "-out", folder / "client.pem",
    )
    if code:
        raise RuntimeError(said)
