"""The one table of paths: which paths exist, what answers each, and under which kind its requests are counted.

Whatever depends on a path is looked up here (:func:`rule_of`): which document or action answers it, the methods of
``Allow``, whether it needs a session token, the answer while a domain is unknown, and the kind under which metrics, the
timeline and the audit show it. Every path has exactly one rule, the most specific of :data:`PATHS` that matches. A path
that leads nowhere has one, too: it allows no method, so the answer is 404, and it has a kind.

A pattern's segments are literal, ``<name>`` for any one segment, or, at the end, ``**`` for any number of segments,
or none. At the first segment in which two patterns differ, a literal one is more specific than ``<name>`` and
``<name>`` than ``**``. Whether there is a document at a path that a pattern matches depends on the domain and on
the segment that ``<name>`` stands for: a pattern shows where a document may be, not that there is one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence

from attrs import define, field, frozen

from eve_meta.documents.versions import AWS_VERSIONS, FOLSOM, GRIZZLY, HAVANA, LIBERTY, NEWTON_TWO
from eve_meta.values.request_kind import RequestKind

READ = (b"GET", b"HEAD")
"""The methods of a path that can only be read."""


class Source(enum.Enum):
    """The part of a domain's :class:`~eve_meta.documents.tree.Tree` that has the documents at a path."""

    OPENSTACK = enum.auto()
    EC2 = enum.auto()
    NOCLOUD = enum.auto()
    EVE = enum.auto()


class Action(enum.Enum):
    """What a path does for a method that does not read."""

    ISSUE_TOKEN = enum.auto()
    """Give the guest a session token."""

    SET_PASSWORD = enum.auto()
    """Store the password that the guest posts."""

    TAKE_REPORT = enum.auto()
    """Take a report of cloud-init's webhook."""

    TAKE_PHONE_HOME = enum.auto()
    """Take the report of cloud-init's phone_home."""


class WhileUnknown(enum.Enum):
    """What a guest is answered while its domain is unknown and may still become known.

    404 is final to cloud-init, Ignition and Afterburn alike, and 503 makes them retry. All that they need first is
    below ``/openstack`` or ``/nocloud``. Everywhere else a 503 would hold up guests that only look for what exists.
    """

    NOT_FOUND = enum.auto()
    """404."""

    RETRY = enum.auto()
    """503 to every method."""

    RETRY_ALLOWED = enum.auto()
    """503 to the methods that the path allows, else 404."""


_REST = "**"


def _is_variable(segment: str) -> bool:
    return segment == _REST or segment.startswith("<")


@frozen(kw_only=True, eq=False)
class PathRule:
    """What holds for the paths that *pattern* matches, where no more specific pattern does.

    :ivar pattern: the pattern, as the module's docstring defines it.
    :ivar kind: the kind under which requests are counted.
    :ivar source: the part of the tree that has the document; None where nothing can be read.
    :ivar action: what another method than those of :data:`READ` does; None where there is no other.
    :ivar methods: the methods that the path allows where it exists; empty for a pattern of paths that lead nowhere.
    :ivar while_unknown: see :class:`WhileUnknown`.
    :ivar needs_token: whether a domain whose tokens are required answers nothing here without one.
    :ivar listed: whether a listing leads here. Clients know the other paths, or read them in a document.
    :ivar served_since: the first version that serves it; "" for all versions.
    :ivar listed_since: the first version that lists it; "" for all that serve it.
    :ivar segments: the segments of *pattern*.
    :ivar depth: the number of segments before those by which *source* knows its documents.
    """

    pattern: str
    kind: RequestKind
    source: Source | None = None
    action: Action | None = None
    methods: tuple[bytes, ...] = ()
    while_unknown: WhileUnknown = WhileUnknown.NOT_FOUND
    needs_token: bool = True
    listed: bool = True
    served_since: str = ""
    listed_since: str = ""
    segments: tuple[str, ...] = field(init=False)
    depth: int = field(init=False)

    @segments.default
    def _segments_of_pattern(self) -> tuple[str, ...]:
        return tuple(segment for segment in self.pattern.split("/") if segment)

    @depth.default
    def _depth_of_pattern(self) -> int:
        return 1 if self.segments and not _is_variable(self.segments[0]) else 0


def _openstack(
    pattern: str,
    kind: RequestKind,
    *,
    action: Action | None = None,
    methods: tuple[bytes, ...] = READ,
    listed: bool = True,
    served_since: str = "",
    listed_since: str = "",
) -> PathRule:
    return PathRule(
        pattern=pattern,
        kind=kind,
        source=Source.OPENSTACK,
        action=action,
        methods=methods,
        while_unknown=WhileUnknown.RETRY,
        listed=listed,
        served_since=served_since,
        listed_since=listed_since or served_since,
    )


def _ec2(prefix: str) -> tuple[PathRule, ...]:
    """Return the rules of the EC2-compatible tree below *prefix*."""

    def rule(pattern: str, kind: RequestKind, *, listed: bool = True, since: str = "") -> PathRule:
        return PathRule(
            pattern=prefix + pattern or "/",
            kind=kind,
            source=Source.EC2,
            methods=READ,
            listed=listed,
            served_since=since,
        )

    return (
        rule("", RequestKind.EC2, listed=False),
        rule("/<version>", RequestKind.EC2),
        rule("/<version>/meta-data/**", RequestKind.EC2_META_DATA),
        rule("/<version>/user-data/**", RequestKind.EC2_USER_DATA),
        # AWS has it since 2009-04-04. nova's tree of that name does not, and must stay nova's.
        rule("/<version>/dynamic/**", RequestKind.EC2_DYNAMIC, since=AWS_VERSIONS[0]),
    )


def _nocloud(pattern: str, kind: RequestKind, *, listed: bool = True) -> PathRule:
    return PathRule(
        pattern=pattern,
        kind=kind,
        source=Source.NOCLOUD,
        methods=READ,
        while_unknown=WhileUnknown.RETRY,
        listed=listed,
    )


def _eve(pattern: str) -> PathRule:
    # EVE lists nothing.
    return PathRule(pattern=pattern, kind=RequestKind.EVE, source=Source.EVE, methods=READ, listed=False)


def _report(pattern: str, kind: RequestKind, action: Action) -> PathRule:
    return PathRule(pattern=pattern, kind=kind, action=action, methods=(b"POST",), listed=False)


PATHS: tuple[PathRule, ...] = (
    _openstack("/openstack", RequestKind.OPENSTACK, listed=False),
    _openstack("/openstack/<version>", RequestKind.OPENSTACK),
    # The names below a version stand in the order of nova's listing.
    _openstack("/openstack/<version>/meta_data.json", RequestKind.META_DATA, served_since=FOLSOM),
    _openstack("/openstack/<version>/user_data", RequestKind.USER_DATA, served_since=FOLSOM),
    _openstack(
        "/openstack/<version>/password",
        RequestKind.PASSWORD,
        action=Action.SET_PASSWORD,
        methods=(*READ, b"POST"),
        served_since=GRIZZLY,
    ),
    _openstack("/openstack/<version>/vendor_data.json", RequestKind.VENDOR_DATA, served_since=HAVANA),
    # nova never looks at the version when it serves this one.
    _openstack(
        "/openstack/<version>/network_data.json",
        RequestKind.NETWORK_DATA,
        served_since=FOLSOM,
        listed_since=LIBERTY,
    ),
    _openstack("/openstack/<version>/vendor_data2.json", RequestKind.VENDOR_DATA2, served_since=NEWTON_TWO),
    # Named by meta_data.json ("content_path").
    _openstack("/openstack/content/<name>", RequestKind.CONTENT, listed=False),
    *_ec2(""),
    *_ec2("/ec2"),
    PathRule(
        pattern="/latest/api/token",
        kind=RequestKind.TOKEN,
        action=Action.ISSUE_TOKEN,
        methods=(b"PUT",),
        # A 404 is final as well: to the AWS SDKs it means that this service has no tokens, and they go on without.
        while_unknown=WhileUnknown.RETRY_ALLOWED,
        needs_token=False,
        listed=False,
    ),
    _nocloud("/nocloud", RequestKind.NOCLOUD, listed=False),
    _nocloud("/nocloud/meta-data", RequestKind.NOCLOUD_META_DATA),
    _nocloud("/nocloud/user-data", RequestKind.NOCLOUD_USER_DATA),
    _nocloud("/nocloud/vendor-data", RequestKind.NOCLOUD_VENDOR_DATA),
    _nocloud("/nocloud/network-config", RequestKind.NOCLOUD_NETWORK_CONFIG),
    _eve("/eve/v1/network.json"),
    _eve("/eve/v1/external_ipv4"),
    _eve("/eve/v1/hostname"),
    _eve("/eve/v1/discover-network.json"),
    _eve("/eve/v1/location.json"),
    _eve("/eve/v1/wwan/status.json"),
    _eve("/eve/v1/wwan/metrics.json"),
    _report("/eve-meta/v1/report", RequestKind.REPORT, Action.TAKE_REPORT),
    _report("/eve-meta/v1/phone-home", RequestKind.PHONE_HOME, Action.TAKE_PHONE_HOME),
    # Paths that lead nowhere.
    PathRule(pattern="/openstack/**", kind=RequestKind.OPENSTACK, while_unknown=WhileUnknown.RETRY),
    PathRule(pattern="/nocloud/**", kind=RequestKind.NOCLOUD, while_unknown=WhileUnknown.RETRY),
    PathRule(pattern="/eve/**", kind=RequestKind.EVE),
    PathRule(pattern="/eve-meta/**", kind=RequestKind.OTHER),
    PathRule(pattern="/ec2/**", kind=RequestKind.OTHER),
    PathRule(pattern="/**", kind=RequestKind.OTHER),
)

TOKEN_PATH = next(rule.pattern for rule in PATHS if rule.action is Action.ISSUE_TOKEN)
"""Where guests get a session token."""

REPORT_KINDS = frozenset(rule.kind for rule in PATHS if rule.action in (Action.TAKE_REPORT, Action.TAKE_PHONE_HOME))
"""The kinds of the paths to which guests only post. The audit, which shows reads, leaves them out."""


def rules_below(pattern: str) -> dict[str, PathRule]:
    """Return the rules of the names below *pattern*, such as ``/openstack/<version>``, in the table's order."""
    above = tuple(segment for segment in pattern.split("/") if segment)
    depth = len(above)
    return {
        rule.segments[depth]: rule
        for rule in PATHS
        if rule.segments[:depth] == above
        and rule.segments[depth + 1 :] in ((), (_REST,))
        and len(rule.segments) > depth
        and not _is_variable(rule.segments[depth])
    }


def rule_of(path: tuple[str, ...]) -> PathRule:
    """Return the rule of the normalised *path*, whether or not a document is there."""
    node = _ROOT
    for segment in path:
        below = node.children.get(segment, node.variable)
        if below is None:
            return node.rest
        node = below
    return node.rule


@define(eq=False)
class _Node:
    """The state of :func:`rule_of` after it has followed a path to some segment.

    :ivar rule: the rule of a path that ends here.
    :ivar rest: the rule of a path that goes on with a segment for which there is no node.
    :ivar children: the nodes of literal segments that follow.
    :ivar variable: the node of every other segment that follows, None where there is none.
    """

    rule: PathRule
    rest: PathRule
    children: Mapping[str, _Node]
    variable: _Node | None


def _compile(candidates: Sequence[tuple[tuple[str, ...], PathRule]]) -> _Node:
    """Return the node of a path that *candidates* still match: what is left of each pattern, the most specific first.

    In this order, the first pattern that matches the rest of a path has its rule, and "**" matches every rest: so no
    later pattern counts.
    """
    rest = next(rule for left, rule in candidates if left == (_REST,))
    candidates = candidates[: [left for left, _ in candidates].index((_REST,))]
    names = dict.fromkeys(left[0] for left, _ in candidates if left)
    literal = [name for name in names if not _is_variable(name)]

    def follow(name: str | None) -> _Node:
        matching = [
            # Still in order: what was more specific in an earlier segment comes first.
            (left[1:], rule)
            for left, rule in candidates
            if left and (left[0] == name or _is_variable(left[0]))
        ]
        return _compile([*matching, ((_REST,), rest)])

    return _Node(
        rule=next((rule for left, rule in candidates if not left), rest),
        rest=rest,
        children={name: follow(name) for name in literal},
        variable=follow(None) if len(literal) < len(names) else None,
    )


def _most_specific_first(rules: Sequence[PathRule]) -> Iterator[tuple[tuple[str, ...], PathRule]]:
    def rank(rule: PathRule) -> tuple[int, ...]:
        # A pattern that ends counts before those that go on: of "/x" and "/x/**" the first is the rule of "/x".
        return tuple(1 if segment.startswith("<") else 2 if segment == _REST else 0 for segment in rule.segments)

    for rule in sorted(rules, key=rank):
        yield rule.segments, rule


_ROOT = _compile(list(_most_specific_first(PATHS)))
