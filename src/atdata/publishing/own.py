"""The caller's own dataset records: the repository in which one may be changed, for editing and deleting."""

from dataclasses import dataclass

from atdata.atproto.client import Client
from atdata.atproto.repository import Record, Repository
from atdata.errors import AuthenticationError, InvalidSyntaxError, RefusedError
from atdata.syntax import AtUri, Nsid, RecordKey, family, parse_at_uri, parse_nsid


@dataclass(frozen=True, slots=True)
class OwnDataset:
    """Where a dataset record of the caller lies, whether it is there or not.

    Attributes:
        repository: The caller's own, or the local one of this machine.
        uri: AT-URI of the record, the authority a DID.
        collection: That of dataset records.
        rkey: Key of the record.
    """

    repository: Repository
    uri: AtUri
    collection: Nsid
    rkey: RecordKey

    def read(self) -> Record:
        """The record as it is now.

        Raises:
            NotFoundError: It is not there.
        """
        return self.repository.get_record(self.collection, self.rkey)


def own_dataset(client: Client, uri: str | AtUri) -> OwnDataset:
    """Where a dataset lies that the caller wants to change; the record itself is not looked for.

    Raises:
        InvalidSyntaxError: The AT-URI is malformed, or names no dataset record.
        AuthenticationError: Nobody is logged in.
        RefusedError: It is in somebody else's repository.
        NotFoundError: There is no such account.
    """
    parsed = parse_at_uri(uri, handle_domain=client.handle_domain) if isinstance(uri, str) else uri
    collection = parse_nsid(f"{family()}.dataset")
    if parsed.collection != collection or parsed.rkey is None:
        raise InvalidSyntaxError(
            f"{parsed} names no dataset: the form is at://AUTHORITY/{collection}/RKEY", value=str(parsed)
        )
    did = client.did_of(parsed)
    repository = client.own_repository(did)
    if repository is None:
        if client.did is None:
            raise AuthenticationError(f"{parsed} is changed by its owner alone: log in (Client.login)")
        raise RefusedError(
            f"{parsed} is in the repository of {did}, and you are {client.did}: only its owner changes it",
            rule="own-repository",
        )
    return OwnDataset(repository, AtUri(did, collection, parsed.rkey), collection, parsed.rkey)
