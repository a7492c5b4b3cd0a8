//! The actions of EC2 that localcloud has. Both the service and the faults, which limit their rates, refer to them.

/// Every action.
pub const ALL: [&str; 23] = [
    "CreateTags",
    "DeleteTags",
    "DeregisterImage",
    "DescribeAvailabilityZones",
    "DescribeImages",
    "DescribeInstanceAttribute",
    "DescribeInstanceStatus",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeRegions",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeTags",
    "GetConsoleOutput",
    "ModifyInstanceAttribute",
    "ModifyInstanceMetadataOptions",
    "RebootInstances",
    "RegisterImage",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// The actions whose number of instances has a rate limit as well.
pub const PER_INSTANCE: [&str; 4] = [
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// The actions with a rate limit of its own for calls with neither filter nor page size.
pub const UNFILTERED: [&str; 2] = ["DescribeInstanceStatus", "DescribeInstances"];
