"""RDS: instances that take their time, refuse what their state forbids, can fail, and tell what becomes of them.

Durations are in AWS seconds. Error codes and messages as AWS gives them for PostgreSQL. That seven days have passed since
an instance was stopped is told to it.
Not restored: maintenance windows, in which pending modifications are applied, reboots, automated backups, option groups, quotas, events
other than those of being created, deleted, stopped and started.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ministack.services import iam, rds

import clock
import ec2
import eventbridge
import faults

Parameters = dict[str, Any]
Instance = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Action = Callable[[Parameters], Response]

# AWS seconds from a call to its effect.
SECONDS = {
    "CreateDBInstance": 360,
    "DeleteDBInstance": 240,
    "ModifyDBInstance": 120,
    "StartDBInstance": 300,
    "StopDBInstance": 180,
}

# The minor versions that can be created, newest first, by major version
# (https://docs.aws.amazon.com/AmazonRDS/latest/PostgreSQLReleaseNotes/postgresql-release-calendar.html).
VERSIONS = {
    "18": ["18.3", "18.1"],
    "17": ["17.9", "17.7"],
    "16": ["16.13", "16.11"],
    "15": ["15.17", "15.15"],
    "14": ["14.22", "14.20"],
}
DEFAULT_VERSION = VERSIONS["17"][0]
CLASSES = [
    *(f"db.t4g.{size}" for size in ("micro", "small", "medium", "large", "xlarge", "2xlarge")),
    *(f"db.t3.{size}" for size in ("micro", "small", "medium", "large", "xlarge", "2xlarge")),
    *(f"db.{family}.{size}" for family in ("m6g", "m7g", "m8g", "r6g", "r7g", "r8g") for size in ("large", "xlarge")),
]
ZONES = "abc"

# Members that AWS leaves out when there is nothing to say.
_OPTIONAL = "DBName|ReadReplicaSourceDBInstanceIdentifier|ReplicaMode|DBClusterIdentifier|KmsKeyId|"
_OPTIONAL += "EnhancedMonitoringResourceArn|MonitoringRoleArn|EngineLifecycleSupport"

# States from which nothing but deletion without a snapshot leads out.
_BROKEN = {"failed", "incompatible-restore", "incompatible-network", "incompatible-create"}


def _given(p: Parameters, name: str) -> str:
    return str(rds._p(p, name))


def _error(code: str, message: str, status: int = 400) -> Response:
    return rds._error(code, message, status)


def _instance_response(action: str, instance: Instance) -> Response:
    return rds._single_instance_response(f"{action}Response", f"{action}Result", instance)


def _not_available(instance: Instance) -> Response:
    # https://github.com/cloud-custodian/cloud-custodian/issues/1687
    message = f"Instance {instance['DBInstanceIdentifier']} is not in available state."
    return _error("InvalidDBInstanceState", message)


@dataclass(frozen=True)
class _Event:
    """What RDS tells (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html)."""

    identifier: str
    category: str
    message: str

    def tell(self, instance: Instance, at: str | None = None) -> None:
        """In the form of https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-cloudwatch-events.sample.html"""
        arn, at = instance["DBInstanceArn"], at or eventbridge.now()
        detail = {
            "EventCategories": [self.category],
            "SourceType": "DB_INSTANCE",
            "SourceArn": arn,
            "Date": at,
            "Message": self.message,
            "SourceIdentifier": instance["DBInstanceIdentifier"],
            "EventID": self.identifier,
        }
        eventbridge.emit("aws.rds", "RDS DB Instance Event", detail, [arn], at)


_DELETED = _Event("RDS-EVENT-0003", "deletion", "DB instance deleted.")
_CREATED = _Event("RDS-EVENT-0005", "creation", "DB instance created.")
_STOPPED = _Event("RDS-EVENT-0087", "notification", "DB instance stopped.")
_STARTED = _Event("RDS-EVENT-0088", "notification", "DB instance started.")
_STOPPED_TOO_LONG = _Event(
    "RDS-EVENT-0154",
    "notification",
    "DB instance is being started due to it exceeding the maximum allowed time being stopped.",
)


def _become(instance: Instance, during: str, after: str, seconds: float, event: _Event | None = None) -> None:
    """Pass through a transitional state, unless something else happens to the instance meanwhile."""
    instance["DBInstanceStatus"] = during

    def arrive() -> None:
        if instance["DBInstanceStatus"] == during:
            instance["DBInstanceStatus"] = after
            if event:
                event.tell(instance)

    clock.after(seconds, arrive)


def _begin(operation: str, instance: Instance, during: str, after: str, seconds: float, event: _Event) -> None:
    """Pass through a transitional state, as well or badly as was arranged: to `failed`, or never out of it."""
    fault = faults.take("rds", operation, faults.OF_RESOURCES)
    if fault is None:
        _become(instance, during, after, seconds, event)
    elif fault.kind == "fails":
        _become(instance, during, "failed", seconds)
    else:
        instance["DBInstanceStatus"] = during


# -- creating ----------------------------------------------------------------------------------------------------------


def _resolve_version(p: Parameters) -> Response | None:
    """A major version alone means its newest minor; what is not offered is refused."""
    version = _given(p, "EngineVersion") or DEFAULT_VERSION
    resolved = VERSIONS[version][0] if version in VERSIONS else version
    if resolved not in VERSIONS.get(resolved.split(".")[0], []):
        return _error("InvalidParameterCombination", f"Cannot find version {version} for postgres")
    p["EngineVersion"] = [resolved]
    return None


def _check_new_instance(p: Parameters) -> Response | None:
    name, password = _given(p, "DBInstanceIdentifier"), _given(p, "MasterUserPassword")
    group = _given(p, "DBSubnetGroupName")
    if not re.fullmatch(r"[A-Za-z](?:-?[A-Za-z0-9])*", name) or len(name) > 63:
        return _error("InvalidParameterValue", f"The parameter DBInstanceIdentifier is not a valid identifier: {name}")
    if rds._instances.get(name):
        return _error("DBInstanceAlreadyExists", "DB instance already exists")
    if not 8 <= len(password) <= 128 or re.search(r"[^ -~]|[/\"@ ]", password):
        return _error(
            "InvalidParameterValue",
            "The parameter MasterUserPassword is not a valid password. "
            "Only printable ASCII characters besides '/', '@', '\"', ' ' may be used.",
        )
    if group and group not in rds._subnet_groups:
        return _error("DBSubnetGroupNotFoundFault", f"DB subnet group '{group}' does not exist.", 404)
    if refused := _resolve_version(p):
        return refused
    if (db_class := _given(p, "DBInstanceClass")) not in CLASSES:
        return _error(
            "InvalidParameterCombination",
            f"RDS does not support creating a DB instance with the following combination: DBInstanceClass={db_class}, "
            f"Engine=postgres, EngineVersion={_given(p, 'EngineVersion')}, LicenseModel=postgresql-license.",
        )
    p.setdefault("StorageType", ["gp3"])
    return None


def _start_creation(instance: Instance, port: int) -> None:
    """The endpoint is known once the instance is available; its network interface holds on to subnet and groups."""
    name = instance["DBInstanceIdentifier"]
    instance["Endpoint"] = {
        "Address": f"{name}.c1a2b3c4d5e6.{rds.get_region()}.rds.amazonaws.com",
        "Port": port,
        "HostedZoneId": "Z2R2ITUGPM61AM",
    }
    instance["_interface"] = _attach(instance)
    _begin("CreateDBInstance", instance, "creating", "available", SECONDS["CreateDBInstance"], _CREATED)


def _attach(instance: Instance) -> str | None:
    """RDS keeps a network interface in one subnet of the group."""
    subnets = instance["DBSubnetGroup"]["Subnets"]
    groups = [group["VpcSecurityGroupId"] for group in instance["VpcSecurityGroups"]]
    if not subnets:
        return None
    return ec2.create_interface(subnets[0]["SubnetIdentifier"], groups, "RDSNetworkInterface", {})


def _create_instance(p: Parameters) -> Response:
    if refused := _check_new_instance(p):
        return refused
    response = _ministack["CreateDBInstance"](p)
    if response[0] != 200:
        return response
    instance = rds._instances[_given(p, "DBInstanceIdentifier")]
    instance["DBName"] = _given(p, "DBName")
    instance["EngineLifecycleSupport"] = _given(p, "EngineLifecycleSupport") or "open-source-rds-extended-support"
    for window in ("PreferredBackupWindow", "PreferredMaintenanceWindow"):
        instance[window] = _given(p, window) or instance[window]
    _start_creation(instance, int(_given(p, "Port") or 5432))
    return _instance_response("CreateDBInstance", instance)


def _create_replica(p: Parameters) -> Response:
    source = rds._resolve_instance(_given(p, "SourceDBInstanceIdentifier"))
    if source and source["DBInstanceStatus"] != "available":
        return _not_available(source)
    if source and not source.get("BackupRetentionPeriod"):
        message = "Automated backups are not enabled for this database instance. To enable automated backups, use "
        return _error("InvalidDBInstanceState", f"{message}ModifyDBInstance to set the backup retention period.")
    response = _ministack["CreateDBInstanceReadReplica"](p)
    if response[0] != 200:
        return response
    replica = rds._instances[_given(p, "DBInstanceIdentifier")]
    replica["DBInstanceClass"] = _given(p, "DBInstanceClass") or replica["DBInstanceClass"]
    replica["DeletionProtection"] = _given(p, "DeletionProtection") == "true"
    replica["BackupRetentionPeriod"] = 0
    # Its groups are its own, not those of its source: "Default: the default EC2 VPC security group" (botocore,
    # CreateDBInstanceReadReplica, VpcSecurityGroupIds). The default group is left out here.
    groups = rds._parse_member_list(p, "VpcSecurityGroupIds")
    replica["VpcSecurityGroups"] = [{"VpcSecurityGroupId": group, "Status": "active"} for group in groups]
    _start_creation(replica, source["Endpoint"]["Port"])
    return _instance_response("CreateDBInstanceReadReplica", replica)


# -- changing, stopping, starting --------------------------------------------------------------------------------------


def _modify(p: Parameters) -> Response:
    instance = rds._resolve_instance(_given(p, "DBInstanceIdentifier"))
    if instance and instance["DBInstanceStatus"] != "available":
        # https://github.com/cloud-custodian/cloud-custodian/issues/178
        return _error("InvalidDBInstanceState", "Database instance is not in available state.")
    if _given(p, "EngineVersion") and (refused := _resolve_version(p)):
        return refused
    pending = dict(instance.get("PendingModifiedValues") or {}) if instance else {}
    response = _ministack["ModifyDBInstance"](p)
    if response[0] != 200:
        return response
    assert instance is not None
    # "If you choose to apply changes immediately, your new changes and any changes in the pending modifications queue are
    # applied" (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_ModifyInstance.ApplyImmediately.html).
    if _given(p, "ApplyImmediately") == "true":
        instance.update({member: value for member, value in pending.items() if member not in p})
        instance["PendingModifiedValues"] = {}
    else:
        instance["PendingModifiedValues"] = pending | (instance.get("PendingModifiedValues") or {})
    if minor := _given(p, "AutoMinorVersionUpgrade"):
        instance["AutoMinorVersionUpgrade"] = minor == "true"
    # Both can be modified (botocore, ModifyDBInstanceMessage); MiniStack leaves them out.
    if support := _given(p, "EngineLifecycleSupport"):
        instance["EngineLifecycleSupport"] = support
    if port := _given(p, "DBPortNumber"):
        instance["Endpoint"]["Port"] = int(port)
    if instance.get("_interface"):
        groups = [group["VpcSecurityGroupId"] for group in instance["VpcSecurityGroups"]]
        ec2.set_interface_groups(instance["_interface"], groups)
    _become(instance, "modifying", "available", SECONDS["ModifyDBInstance"])
    return _instance_response("ModifyDBInstance", instance)


def _stop(p: Parameters) -> Response:
    """ "You can't stop a DB instance that has a read replica, or that is a read replica"
    (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StopInstance.html#USER_StopInstance.Limitations). What a
    replica answers is in https://github.com/base2Services/cfn-start-stop-stack/pull/65; what its source does, nobody
    tells."""
    instance = rds._resolve_instance(_given(p, "DBInstanceIdentifier"))
    if instance is None:
        return _ministack["StopDBInstance"](p)
    if instance["DBInstanceStatus"] != "available":
        return _not_available(instance)
    if instance.get("ReadReplicaSourceDBInstanceIdentifier"):
        return _error("InvalidDBInstanceState", "Cannot stop or start a Read-Replica instance")
    if instance["ReadReplicaDBInstanceIdentifiers"]:
        return _error("InvalidDBInstanceState", "Cannot stop or start an instance that has Read-Replica instances")
    _begin("StopDBInstance", instance, "stopping", "stopped", SECONDS["StopDBInstance"], _STOPPED)
    return _instance_response("StopDBInstance", instance)


def _start(p: Parameters) -> Response:
    instance = rds._resolve_instance(_given(p, "DBInstanceIdentifier"))
    if instance is None:
        return _ministack["StartDBInstance"](p)
    if instance["DBInstanceStatus"] != "stopped":
        message = f"Instance {instance['DBInstanceIdentifier']} cannot be started as it is not in one of the following "
        message += "statuses: 'stopped, inaccessible-encryption-credentials-recoverable'."
        return _error("InvalidDBInstanceState", message)
    _begin("StartDBInstance", instance, "starting", "available", SECONDS["StartDBInstance"], _STARTED)
    return _instance_response("StartDBInstance", instance)


def pass_seven_days(name: str, at: str | None = None) -> None:
    """Seven days have passed since an instance was stopped, and it is `at`: "if you don't manually start your DB instance
    after seven consecutive days, RDS automatically starts it" (USER_StopInstance.html). RDS tells while it starts, and
    again when it has started."""
    instance = rds._instances.get(name)
    if instance is None or instance["DBInstanceStatus"] != "stopped":
        raise ValueError(f"there is no stopped instance {name}")
    _begin("StartDBInstance", instance, "starting", "available", SECONDS["StartDBInstance"], _STARTED)
    _STOPPED_TOO_LONG.tell(instance, at)


# -- deleting ----------------------------------------------------------------------------------------------------------


def _check_deletion(p: Parameters, instance: Instance) -> Response | None:
    name, status = instance["DBInstanceIdentifier"], instance["DBInstanceStatus"]
    skip, snapshot = _given(p, "SkipFinalSnapshot") == "true", _given(p, "FinalDBSnapshotIdentifier")
    if status == "deleting":
        return _error("InvalidDBInstanceState", f"Instance {name} is already being deleted.")
    if instance.get("DeletionProtection"):
        message = "Cannot delete protected DB Instance, please disable deletion protection and try again."
        return _error("InvalidParameterCombination", message)
    if skip and snapshot:
        message = "FinalDBSnapshotIdentifier can not be specified when SkipFinalSnapshot is specified."
        return _error("InvalidParameterCombination", message)
    if not skip and not snapshot:
        message = "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified."
        return _error("InvalidParameterCombination", message)
    if snapshot and instance.get("ReadReplicaSourceDBInstanceIdentifier"):
        message = "FinalDBSnapshotIdentifier can not be specified when deleting a read replica."
        return _error("InvalidParameterCombination", message)
    if snapshot in rds._snapshots:
        message = f"Cannot create the snapshot because a snapshot with the identifier {snapshot} already exists."
        return _error("DBSnapshotAlreadyExists", message)
    if snapshot and status not in ("available", "storage-optimization"):
        # "You can't create a final DB snapshot of your DB instance if it isn't in the Available state"
        # (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_DeleteInstance.html; the words are those of
        # https://github.com/hashicorp/terraform-provider-aws/pull/46687).
        message = (
            f"Cannot create a snapshot because the database instance {name} is not currently in the available state."
        )
        return _error("InvalidDBInstanceState", message)
    if instance["ReadReplicaDBInstanceIdentifiers"]:
        message = f"Instance {name} cannot be deleted: it is the source of a read replica."
        return _error("InvalidDBInstanceState", message)
    return None


def _delete(p: Parameters) -> Response:
    instance = rds._resolve_instance(_given(p, "DBInstanceIdentifier"))
    if instance is None:
        return _ministack["DeleteDBInstance"](p)
    if refused := _check_deletion(p, instance):
        return refused
    instance["DBInstanceStatus"] = "deleting"
    response = _instance_response("DeleteDBInstance", instance)

    def finish() -> None:
        tags = list(instance.get("TagList", [])) if instance.get("CopyTagsToSnapshot") else []
        _ministack["DeleteDBInstance"](p)
        if snapshot := rds._snapshots.get(_given(p, "FinalDBSnapshotIdentifier")):
            snapshot["TagList"] = rds._tags[snapshot["DBSnapshotArn"]] = tags
        if instance.get("_interface"):
            ec2.delete_interface(instance["_interface"])
        source = rds._instances.get(instance.get("ReadReplicaSourceDBInstanceIdentifier") or "")
        if source:
            source["ReadReplicaDBInstanceIdentifiers"].remove(instance["DBInstanceIdentifier"])
        _DELETED.tell(instance)

    clock.after(SECONDS["DeleteDBInstance"], finish)
    return response


# -- subnet groups -----------------------------------------------------------------------------------------------------


def _create_subnet_group(p: Parameters) -> Response:
    name = _given(p, "DBSubnetGroupName").lower()
    if name in rds._subnet_groups:
        message = f"The DB subnet group '{name}' already exists."
        return _error("DBSubnetGroupAlreadyExists", message)
    if "AWSServiceRoleForRDS" not in iam._roles:
        # An instance makes the role, a subnet group does not (https://github.com/crossplane-contrib/provider-aws/issues/479,
        # https://github.com/terraform-aws-modules/terraform-aws-rds/issues/364).
        return _error("InvalidParameterValue", faults.REFUSALS["rds-first-use-of-a-subnet-group"]["message"])
    if refused := _check_zones(p):
        return refused
    p["DBSubnetGroupName"] = [name]
    return _ministack["CreateDBSubnetGroup"](p)


def _check_zones(p: Parameters) -> Response | None:
    subnets = [ec2.ec2._subnets.get(subnet) for subnet in rds._parse_member_list(p, "SubnetIds")]
    if len({subnet["AvailabilityZone"] for subnet in subnets if subnet}) < 2 and all(subnets):
        message = "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. "
        message += "Current AZ coverage: 1. Add subnets to cover at least 2 AZs."
        return _error("DBSubnetGroupDoesNotCoverEnoughAZs", message)
    return None


def _modify_subnet_group(p: Parameters) -> Response:
    return _check_zones(p) or _ministack["ModifyDBSubnetGroup"](p)


def _delete_subnet_group(p: Parameters) -> Response:
    name = _given(p, "DBSubnetGroupName")
    for instance in rds._instances.values():
        if instance["DBSubnetGroup"]["DBSubnetGroupName"] == name:
            message = f"Cannot delete the subnet group '{name}' because at least one database instance: "
            message += f"{instance['DBInstanceIdentifier']} is still using it."
            return _error("InvalidDBSubnetGroupStateFault", message)
    return _ministack["DeleteDBSubnetGroup"](p)


# -- what is offered ---------------------------------------------------------------------------------------------------


def _describe_versions(p: Parameters) -> Response:
    wanted, default_only = _given(p, "EngineVersion"), _given(p, "DefaultOnly") == "true"
    members = "".join(
        f"<DBEngineVersion><Engine>postgres</Engine><EngineVersion>{version}</EngineVersion>"
        f"<MajorEngineVersion>{major}</MajorEngineVersion>"
        f"<DBParameterGroupFamily>postgres{major}</DBParameterGroupFamily>"
        "<DBEngineDescription>PostgreSQL</DBEngineDescription>"
        f"<DBEngineVersionDescription>PostgreSQL {version}</DBEngineVersionDescription>"
        "<SupportsReadReplica>true</SupportsReadReplica><Status>available</Status></DBEngineVersion>"
        for major in sorted(VERSIONS)
        for version in reversed(VERSIONS[major])
        if wanted in ("", version, major)
        and (not default_only or version == (VERSIONS[major][0] if wanted == major else DEFAULT_VERSION))
        and _given(p, "Engine") in ("", "postgres")
    )
    result = f"<DescribeDBEngineVersionsResult><DBEngineVersions>{members}</DBEngineVersions>"
    return rds._xml(200, "DescribeDBEngineVersionsResponse", f"{result}</DescribeDBEngineVersionsResult>")


def _describe_orderable(p: Parameters) -> Response:
    wanted, db_class = _given(p, "EngineVersion"), _given(p, "DBInstanceClass")
    zones = "".join(f"<AvailabilityZone><Name>{rds.get_region()}{z}</Name></AvailabilityZone>" for z in ZONES)
    members = "".join(
        f"<OrderableDBInstanceOption><Engine>postgres</Engine><EngineVersion>{version}</EngineVersion>"
        f"<DBInstanceClass>{name}</DBInstanceClass><LicenseModel>postgresql-license</LicenseModel>"
        f"<AvailabilityZones>{zones}</AvailabilityZones><MultiAZCapable>true</MultiAZCapable>"
        "<ReadReplicaCapable>true</ReadReplicaCapable><Vpc>true</Vpc>"
        "<SupportsStorageEncryption>true</SupportsStorageEncryption><StorageType>gp3</StorageType>"
        "<MinStorageSize>20</MinStorageSize><MaxStorageSize>65536</MaxStorageSize></OrderableDBInstanceOption>"
        for major, versions in VERSIONS.items()
        for version in versions
        if wanted in ("", version, major)
        for name in CLASSES
        if db_class in ("", name)
    )
    result = "<DescribeOrderableDBInstanceOptionsResult><OrderableDBInstanceOptions>"
    result += f"{members}</OrderableDBInstanceOptions></DescribeOrderableDBInstanceOptionsResult>"
    return rds._xml(200, "DescribeOrderableDBInstanceOptionsResponse", result)


# AWS's default quotas (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html); a test lowers them.
quotas = {"DBInstances": 40, "AllocatedStorage": 100_000, "DBSubnetGroups": 50}


def _describe_account_attributes(p: Parameters) -> Response:
    """The quotas with what is used of them: "DB instances", the storage of all of them in GiB, DB subnet groups
    (https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_AccountQuota.html). The other quotas are left out."""
    used = {
        "DBInstances": len(rds._instances),
        "AllocatedStorage": sum(instance["AllocatedStorage"] for instance in rds._instances.values()),
        "DBSubnetGroups": len(rds._subnet_groups),
    }
    members = "".join(
        f"<AccountQuota><AccountQuotaName>{name}</AccountQuotaName><Used>{used[name]}</Used><Max>{most}</Max></AccountQuota>"
        for name, most in quotas.items()
    )
    result = (
        f"<DescribeAccountAttributesResult><AccountQuotas>{members}</AccountQuotas></DescribeAccountAttributesResult>"
    )
    return rds._xml(200, "DescribeAccountAttributesResponse", result)


# -- answers -----------------------------------------------------------------------------------------------------------


def _tell_what_is_known() -> None:
    """No endpoint before the instance is available, and no empty element: an SDK takes an empty one for a value."""
    render = rds._instance_xml

    def instance_xml(instance: Instance) -> str:
        xml = str(render(instance))
        if instance["DBInstanceStatus"] in _BROKEN | {"creating"}:
            xml = re.sub(r"<Endpoint>.*?</Endpoint>", "", xml, flags=re.DOTALL)
        support = instance.get("EngineLifecycleSupport", "")
        xml += f"<EngineLifecycleSupport>{support}</EngineLifecycleSupport>"
        return re.sub(rf"<({_OPTIONAL})></\1>", "", xml)

    rds._instance_xml = instance_xml


def _tell_no_instance_of_snapshots() -> None:
    """A snapshot has neither a class nor the name of a database, and says `Encrypted` of itself
    (https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBSnapshot.html)."""
    render = rds._snapshot_xml

    def snapshot_xml(snapshot: dict[str, Any]) -> str:
        return re.sub(r"<(DBName|DBInstanceClass|StorageEncrypted)>[^<]*</\1>", "", str(render(snapshot)))

    rds._snapshot_xml = snapshot_xml


_ministack: dict[str, Action] = dict(rds._ACTION_MAP)


def install() -> None:
    _tell_what_is_known()
    _tell_no_instance_of_snapshots()
    rds._ACTION_MAP |= {
        "CreateDBInstance": _create_instance,
        "CreateDBInstanceReadReplica": _create_replica,
        "ModifyDBInstance": _modify,
        "StopDBInstance": _stop,
        "StartDBInstance": _start,
        "DeleteDBInstance": _delete,
        "CreateDBSubnetGroup": _create_subnet_group,
        "ModifyDBSubnetGroup": _modify_subnet_group,
        "DeleteDBSubnetGroup": _delete_subnet_group,
        "DescribeAccountAttributes": _describe_account_attributes,
        "DescribeDBEngineVersions": _describe_versions,
        "DescribeOrderableDBInstanceOptions": _describe_orderable,
    }
