"""Opens the store that the settings name; every process and every command comes in here."""

import os

from api.kubernetes.config import find_cluster
from api.kubernetes.reflector import Feed, reflect
from api.records import Records, RecordsError
from api.records.kubernetes import KubernetesRecords
from api.records.kubernetes_moving import KubernetesMoving
from api.records.memory import MemoryRecords
from api.records.memory_moving import MemoryMoving
from api.records.moving import Moving
from api.records.postgres import PostgresRecords
from api.records.postgres_moving import PostgresMoving
from api.settings import SettingError, StoreSettings


async def open_records(
    store: StoreSettings, *, scope: str | None, feed: Feed = reflect, home: str = ""
) -> Records:
    """`scope`: the namespace that matters here, None for all; `feed`: how Kubernetes is followed; `home`:
    where leases and the installation's Secret are, "" for the namespace of the context or of the pod.

    Raises RecordsError where the store cannot be reached, SettingError where nothing says where it is.
    """
    if store.kind == "kubernetes":
        return await open_kubernetes(store, scope=scope, feed=feed, home=home)
    return await PostgresRecords.connect(store.database_url)


async def open_or_refuse(
    store: StoreSettings, *, scope: str | None, feed: Feed = reflect
) -> Records:
    """For a process that cannot start without its store. Raises SettingError."""
    try:
        return await open_records(store, scope=scope, feed=feed)
    except RecordsError as error:
        variable = "KUBECONFIG" if store.kind == "kubernetes" else "DATABASE_URL"
        raise SettingError(variable, str(error)) from None


async def open_kubernetes(
    store: StoreSettings, *, scope: str | None, feed: Feed = reflect, home: str = ""
) -> KubernetesRecords:
    """As `open_records`."""
    cluster = find_cluster({**os.environ, "KUBECONFIG": store.kubeconfig})
    records = KubernetesRecords(cluster, scope=scope, home=home or cluster.namespace, feed=feed)
    try:
        await records.now()
    except RecordsError:
        await records.close()
        raise
    return records


def moving_of(records: Records) -> Moving:
    """The same store, to be moved out of or into."""
    match records:
        case KubernetesRecords():
            return KubernetesMoving(records)
        case PostgresRecords():
            return PostgresMoving(records)
        case MemoryRecords():
            return MemoryMoving(records)
    raise TypeError(f"{type(records).__name__} cannot be moved")
