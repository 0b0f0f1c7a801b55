"""The three kinds: AgentPool, AgentClaim, AgentInstance. The one source for rows, REST, CLI and CRDs.

Python names are snake_case, the wire is camelCase, durations are written `1h30m`.
Everything is frozen: a change is a new value, made with `model_copy(update=...)`.
Each kind has a file of its own (`kind_*`); whoever wants any of it imports it from here.
"""

from api.kind_claim import DEFAULT_POOL as DEFAULT_POOL
from api.kind_claim import AgentClaim as AgentClaim
from api.kind_claim import Attempt as Attempt
from api.kind_claim import BoundInstance as BoundInstance
from api.kind_claim import ClaimPhase as ClaimPhase
from api.kind_claim import ClaimSpec as ClaimSpec
from api.kind_claim import ClaimStatus as ClaimStatus
from api.kind_claim import OnEmpty as OnEmpty
from api.kind_instance import AgentInstance as AgentInstance
from api.kind_instance import ClaimRef as ClaimRef
from api.kind_instance import DeploymentRef as DeploymentRef
from api.kind_instance import InstancePhase as InstancePhase
from api.kind_instance import InstanceSpec as InstanceSpec
from api.kind_instance import InstanceStatus as InstanceStatus
from api.kind_instance import RailwayRef as RailwayRef
from api.kind_pool import FAILED_CLAIM_TTL as FAILED_CLAIM_TTL
from api.kind_pool import AgentPool as AgentPool
from api.kind_pool import EnvVar as EnvVar
from api.kind_pool import PoolRailway as PoolRailway
from api.kind_pool import PoolSpec as PoolSpec
from api.kind_pool import PoolStatus as PoolStatus
from api.kind_pool import RepoSource as RepoSource
from api.kind_pool import Rollout as Rollout
from api.kind_pool import SecretKeyRef as SecretKeyRef
from api.kind_pool import Source as Source
from api.kind_pool import Template as Template
from api.kind_pool import ValueFrom as ValueFrom
from api.parts import API_VERSION as API_VERSION
from api.parts import DEFAULT_NAMESPACE as DEFAULT_NAMESPACE
from api.parts import Condition as Condition
from api.parts import Key as Key
from api.parts import LocalRef as LocalRef
from api.parts import Meta as Meta
from api.parts import ReclaimPolicy as ReclaimPolicy

MANAGED_BY = "app.kubernetes.io/managed-by"  # The label that rows keep in a column of its own.
Kind = AgentPool | AgentClaim | AgentInstance


def key_of(thing: Kind) -> Key:
    """Where this record is found."""
    return Key(namespace=thing.metadata.namespace, name=thing.metadata.name)


def pool_key(thing: AgentClaim | AgentInstance) -> Key:
    """The pool that a claim or an instance belongs to."""
    return Key(namespace=thing.metadata.namespace, name=thing.spec.pool_ref.name)


def oldest_first(thing: AgentClaim | AgentInstance) -> tuple[int, float, str]:
    """Sort key of creation: rows have `seq`; elsewhere creation time, then name."""
    created = thing.metadata.creation_timestamp
    return thing.metadata.seq, created.timestamp() if created else 0.0, thing.metadata.name
