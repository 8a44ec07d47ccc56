"""What moto's EC2 lacks for Karpenter's controller to work on it. Everything here is what AWS's documentation says, no more.

`install(account)` patches the moto of this process. The `Launches` that it returns decides how CreateFleet ends; a test tells it so.
"""

import json
from datetime import datetime, timezone

from moto.core.exceptions import AccessDeniedError
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, InstanceTypeBackend
from moto.ec2.responses import EC2Response
from moto.ec2.utils import convert_tag_spec
from moto.iam.access_control import IAMRequest
from moto.iam.models import SERVICE_NAME_CONVERSION, IAMBackend, iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.ssm.models import Parameter, SimpleSystemManagerBackend
from moto.sts.models import sts_backends

# Karpenter reads all there are; of moto's 1,246 it needs a handful, of both architectures.
FAMILIES = ("c5", "m5", "r5", "m6g", "t3")
SIZES = ("large", "xlarge", "2xlarge")

SPOT_ROLE = "AWSServiceRoleForEC2Spot"
NO_SPOT_ROLE = (
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
)

# As AWS words them.
MESSAGES = {
    "InsufficientInstanceCapacity": "We currently do not have sufficient capacity in the Availability Zone you requested. Our system will be "
    "working on provisioning additional capacity.",
    "MaxSpotInstanceCountExceeded": "Max spot instance count exceeded",
    "UnauthorizedOperation": "You are not authorized to perform this operation. User: {caller} is not authorized to perform: "
    "ec2:RunInstances on resource: arn:aws:ec2:{region}:{account}:instance/* with an explicit deny in a service control policy. "
    "Encoded authorization failure message: {encoded}",
    "InvalidAMIID.NotFound": "The image id '[ami-0123456789abcdef0]' does not exist",
}
ENCODED = "aGFuZC1tYWRlLWV4YW1wbGUtb2YtYW4tZW5jb2RlZC1hdXRob3JpemF0aW9uLWZhaWx1cmUtbWVzc2FnZQ"


class Launches:
    """How CreateFleet ends that is no dry run."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.refused = {}

    def refuse(self, **codes):
        """From now on launches of this capacity type (`spot`, `on_demand`) end with this error; those not named succeed."""
        self.refused = {capacity.replace("_", "-"): code for capacity, code in codes.items()}
        return {}

    def error(self, capacity: str, region: str):
        """(code, message), or None when instances are launched."""
        code = self.refused.get(capacity)
        if code:
            caller = f"arn:aws:sts::{self.account}:assumed-role/KarpenterController/karpenter"
            return code, MESSAGES[code].format(caller=caller, region=region, account=self.account, encoded=ENCODED)
        if capacity == "spot" and not named(self.account, SPOT_ROLE):
            return NO_SPOT_ROLE
        return None


def install(account: str) -> Launches:
    launches = Launches(account)
    few_instance_types()
    images()
    prices()
    identity_policies()
    spot_role()

    def create_fleet(self):
        self.error_on_dryrun()
        capacity = self._get_param("TargetCapacitySpecification")["DefaultTargetCapacityType"]
        error = launches.error(capacity, self.region)
        # One launch configuration per override.
        wanted = [
            (config["LaunchTemplateSpecification"], override)
            for config in self._get_param("LaunchTemplateConfigs")
            for override in config["Overrides"]
        ]
        fleet = f"fleet-{len(self.ec2_backend.reservations):08x}-1111-2222-3333-444455556666"
        if error:
            code, message = error
            errors = [{**configuration(wish, capacity), "ErrorCode": code, "ErrorMessage": message} for wish in wanted]
            return ActionResult({"FleetId": fleet, "Errors": errors, "Instances": []})
        instance = launch(self, wanted[0], capacity)
        launched = {"InstanceIds": [instance.id], "InstanceType": instance.instance_type}
        return ActionResult({"FleetId": fleet, "Errors": [], "Instances": [{**configuration(wanted[0], capacity), **launched}]})

    EC2Response.create_fleet = create_fleet
    EC2Response.describe_capacity_reservations = lambda self: ActionResult({"CapacityReservations": []})
    EC2Response.describe_placement_groups = lambda self: ActionResult({"PlacementGroups": []})
    return launches


def configuration(wish, capacity: str):
    template, override = wish
    return {"LaunchTemplateAndOverrides": {"LaunchTemplateSpecification": template, "Overrides": override}, "Lifecycle": capacity}


def launch(response, wish, capacity: str):
    """One instance by a launch template, with its security groups and the tags of both."""
    template, override = wish
    found = response.ec2_backend.get_launch_template_by_name(template["LaunchTemplateName"])
    data = found.get_version(template["Version"].replace("$Latest", str(found.latest_version_number))).data
    # In a template for an instance with a public address or EFA the groups are those of the interface.
    groups = data.get("SecurityGroupIds") or [group for nic in data.get("NetworkInterfaces", []) for group in nic.get("Groups", [])]
    tags = convert_tag_spec(data.get("TagSpecifications", []))
    for resource, more in convert_tag_spec(response._get_param("TagSpecifications", [])).items():
        tags[resource] = {**tags.get(resource, {}), **more}
    reservation = response.ec2_backend.run_instances(
        override.get("ImageId") or data["ImageId"],
        1,
        data.get("UserData"),
        [],
        instance_type=override["InstanceType"],
        is_instance_type_default=False,
        subnet_id=override["SubnetId"],
        security_group_ids=groups,
        region_name=response.region,
        tags=tags,
        instance_market_options="spot" if capacity == "spot" else {},
    )
    return reservation.instances[0]


def few_instance_types() -> None:
    def kept(name: str) -> bool:
        family, size = name.split(".")
        return family in FAMILIES and size in SIZES

    InstanceTypeBackend.instance_types = [known for known in InstanceTypeBackend.instance_types if kept(known["InstanceType"])]
    for regions in INSTANCE_TYPE_OFFERINGS.values():
        for region, offered in regions.items():
            regions[region] = [offer for offer in offered if kept(offer["InstanceType"])]

    described = EC2Response.describe_instance_types

    def describe_instance_types(self):
        # Karpenter's check that it reaches EC2.
        self.error_on_dryrun()
        return described(self)

    EC2Response.describe_instance_types = describe_instance_types


def images() -> None:
    registered = EC2Response.register_image

    def register_image(self):
        """moto's forgets the architecture. What is registered here is also what SSM's public parameters recommend for it."""
        answer = registered(self)
        image = self.ec2_backend.amis[answer.result["ImageId"]]
        image.architecture = self._get_param("Architecture")
        image.creation_date = datetime(2026, 11, 1, tzinfo=timezone.utc)
        recommended[image.architecture] = image.id
        return answer

    recommended = {}
    parameter = SimpleSystemManagerBackend.get_parameter

    def get_parameter(self, name: str):
        for architecture, image in recommended.items():
            # /aws/service/eks/optimized-ami/VERSION/amazon-linux-2023/ARCHITECTURE/standard/recommended/image_id
            if name.startswith("/aws/service/eks/optimized-ami/") and f"/amazon-linux-2023/{architecture}/standard/" in name:
                return Parameter(self.account_id, name, image, "String", None, None, None, datetime.now(timezone.utc), 1, "text")
        return parameter(self, name)

    EC2Response.register_image = register_image
    SimpleSystemManagerBackend.get_parameter = get_parameter


def prices() -> None:
    """moto has no price list. Karpenter has prices built in; what it asks for is answered with one product."""
    price = {"priceDimensions": {"hour": {"unit": "Hrs", "pricePerUnit": {"USD": "0.107"}}}}
    product = {"product": {"attributes": {"instanceType": "m5.large"}}, "terms": {"OnDemand": {"term": price}}}
    body = json.dumps({"FormatVersion": "aws_v1", "PriceList": [json.dumps(product)]}).encode()
    application = DomainDispatcherApplication.__call__

    def call(self, environ, start_response):
        if environ.get("HTTP_X_AMZ_TARGET") == "AWSPriceListService.GetProducts":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("200 OK", [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))])
            return [body]
        return application(self, environ, start_response)

    DomainDispatcherApplication.__call__ = call


def identity_policies() -> None:
    """EC2 asks IAM whether a session of a role that has policies may do it, and refuses in EC2's own words."""
    called = EC2Response.call_action

    def call_action(self):
        error = refusal(self)
        if error is None:
            return called(self)
        status, headers, body = self.serialized(ActionResult(error))
        return status, *self._enrich_response(headers, body)

    EC2Response.call_action = call_action


def refusal(response):
    account = response.current_account
    sessions = sts_backends[account]["aws"].assumed_roles
    session = next((known for known in sessions if known.access_key_id == response.get_access_key()), None)
    role = session and named(account, session.role_arn.split("/")[-1])
    if not role or not (role.policies or role.managed_policies):
        return None
    action = response._get_action()
    arguments = (response.method, response.raw_path, response.data, response.raw_body, response.headers, action)
    try:
        IAMRequest(account, *arguments).check_action_permitted("*")
        return None
    except AccessDeniedError:
        return EC2ClientError(
            "UnauthorizedOperation",
            f"You are not authorized to perform this operation. User: {session.arn} is not authorized to perform: ec2:{action} on "
            f"resource: * because no identity-based policy allows the ec2:{action} action. Encoded authorization failure message: "
            f"{ENCODED}",
        )


def spot_role() -> None:
    """moto's CreateServiceLinkedRole calls the role AWSServiceRoleForspot and gives it no policy."""
    SERVICE_NAME_CONVERSION["spot"] = SPOT_ROLE.removeprefix("AWSServiceRoleFor")
    created = IAMBackend.create_service_linked_role

    def create_service_linked_role(self, service_name, description, suffix):
        role = created(self, service_name, description, suffix)
        if service_name == "spot.amazonaws.com":
            self.attach_role_policy("arn:aws:iam::aws:policy/aws-service-role/AWSEC2SpotServiceRolePolicy", role.name)
        return role

    IAMBackend.create_service_linked_role = create_service_linked_role


def named(account: str, name: str):
    return next((role for role in iam_backends[account]["aws"].roles.values() if role.name == name), None)
