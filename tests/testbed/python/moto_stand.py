"""Runs moto's server on loopback, on a free port, until stdin is closed.

    moto_stand.py ACCOUNT [karpenter]

With `karpenter`, moto is patched so that Karpenter's controller can work on it (moto_karpenter.py).

Once it listens, one line of JSON goes to stdout: {"url": "http://127.0.0.1:PORT", "version": "...", "pid": N, "credentials":
{...}}. Whoever started this program holds the other end of its stdin: when that process dies, however it dies, this one ends
too.

After that, each line of stdin is a call that is made with those credentials, ["SERVICE", "OPERATION", {PARAMETERS}] as boto3
names them, and each line of stdout its answer, or {"error": "..."}: a test sets its account up in a moment. "SERVICE ACCOUNT
REGION" as the service is that service in another account and region. The service
"clusters" is ours: its operation `is_at` says where a cluster of EKS is. So is "launches": its operation `refuse` says how EC2's
launches end from then on.

The credentials are those of a session of the role `admin` in ACCOUNT, got as people get theirs, by AssumeRole. moto's variable
MOTO_ACCOUNT_ID would be shorter, but then every key is of that one account.
"""

import json
import os
import sys

import boto3
import moto
from moto.eks.models import eks_backends
from moto.server import ThreadedMotoServer

# Nothing is left behind beside the sources.
sys.dont_write_bytecode = True
import moto_karpenter  # noqa: E402


class Clusters:
    """moto makes an endpoint and a CA up, and no call of EKS would change them."""

    def __init__(self, account: str) -> None:
        self.account = account

    def is_at(self, name: str, endpoint: str, ca: str):
        cluster = eks_backends[self.account]["eu-west-1"].clusters[name]
        cluster.endpoint = endpoint
        cluster.certificate_authority = {"data": ca}
        return {}


def client_of(service: str, session: boto3.Session, sts, url: str):
    if " " not in service:
        return session.client(service, endpoint_url=url)
    name, account, region = service.split()
    keys = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/admin", RoleSessionName="testbed")["Credentials"]
    there = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=region)
    return there.client(name, endpoint_url=url)


def main(account: str, for_karpenter: bool) -> None:
    clients = {"clusters": Clusters(account)}
    if for_karpenter:
        clients["launches"] = moto_karpenter.install(account)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    sts = boto3.client(
        "sts", region_name="eu-west-1", endpoint_url=url, aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="any"
    )
    assumed = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/admin", RoleSessionName="testbed")["Credentials"]
    ready = {
        "url": url,
        "version": moto.__version__,
        "pid": os.getpid(),
        "credentials": {name: assumed[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")},
    }
    print(json.dumps(ready), flush=True)
    session = boto3.Session(assumed["AccessKeyId"], assumed["SecretAccessKey"], assumed["SessionToken"], region_name="eu-west-1")
    try:
        for line in sys.stdin:
            try:
                service, operation, parameters = json.loads(line)
                if service not in clients:
                    clients[service] = client_of(service, session, sts, url)
                answer = getattr(clients[service], operation)(**parameters)
            except Exception as error:
                answer = {"error": f"{line.strip()}: {error}"}
            print(json.dumps(answer, default=str), flush=True)
    except KeyboardInterrupt:
        pass
    # Requests that still run hold nothing that outlives the process.
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["karpenter"]):
        sys.exit("usage: moto_stand.py ACCOUNT [karpenter]")
    main(sys.argv[1], for_karpenter=bool(sys.argv[2:]))
