"""moto's server, whose CloudFormation also changes the web instance. moto itself drops an instance from its stack at an update."""

import re
import sys

from moto.cloudformation import parsing
from moto.ec2.models.instances import Instance
from moto.server import main

references = parsing.get_references_from_template


def all_references(part):
    """moto's own function does not look into the texts of Fn::Sub."""
    return references(part) + re.findall(r"\$\{(\w+)\}", str(part))


@classmethod
def update(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
    """Another image, subnet or key replaces the instance, as on AWS. What else the tests change restarts it."""
    wanted, now = cloudformation_json["Properties"], original_resource
    if (wanted["ImageId"], wanted["SubnetId"], wanted.get("KeyName")) == (now.image_id, now.subnet_id, now.key_name):
        now.user_data, now.instance_type = wanted["UserData"], wanted["InstanceType"]
        return now
    new = cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)
    now.terminate()
    return new


parsing.get_references_from_template = all_references
Instance.update_from_cloudformation_json = update

if __name__ == "__main__":
    sys.exit(main())
