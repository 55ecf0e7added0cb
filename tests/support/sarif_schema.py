"""What SARIF 2.1.0 asks of the parts that batchproof writes, as a JSON schema.

Written after the standard's sections 3.13 to 3.58. No object may hold what is not named here.
"""


def _object(required=(), **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items, **more):
    return {"type": "array", "items": items, **more}


TEXT = {"type": "string"}
URI = {"type": "string", "format": "uri-reference", "pattern": r"^[!#-;=?-\[\]_a-z~%A-Z0-9]*$"}
FROM_ONE = {"type": "integer", "minimum": 1}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
MESSAGE = _object(["text"], text=TEXT)
REGION = _object(
    ["startLine"], startLine=FROM_ONE, startColumn=FROM_ONE, endLine=FROM_ONE, endColumn=FROM_ONE
)
ARTIFACT = _object(["uri"], uri=URI)
LOCATION = _object(
    ["physicalLocation"],
    physicalLocation=_object(["artifactLocation"], artifactLocation=ARTIFACT, region=REGION),
)
REPLACEMENT = _object(["deletedRegion"], deletedRegion=REGION, insertedContent=_object(text=TEXT))
FIX = _object(
    ["artifactChanges"],
    description=MESSAGE,
    artifactChanges=_list(
        _object(
            ["artifactLocation", "replacements"],
            artifactLocation=ARTIFACT,
            replacements=_list(REPLACEMENT, minItems=1),
        ),
        minItems=1,
        uniqueItems=True,
    ),
)
RULE = _object(
    ["id"],
    id=TEXT,
    name=TEXT,
    shortDescription=MESSAGE,
    help=MESSAGE,
    helpUri={"type": "string", "format": "uri"},
)
RESULT = _object(
    ["message"],
    ruleId=TEXT,
    ruleIndex={"type": "integer", "minimum": -1},
    level=LEVEL,
    message=MESSAGE,
    locations=_list(LOCATION),
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
    properties={"type": "object"},
    fixes=_list(FIX, uniqueItems=True),
)
NOTIFICATION = _object(["message"], level=LEVEL, message=MESSAGE, locations=_list(LOCATION))
DRIVER = _object(
    ["name"],
    name=TEXT,
    version=TEXT,
    informationUri={"type": "string", "format": "uri"},
    rules=_list(RULE, uniqueItems=True),
)
RUN = _object(
    ["tool"],
    tool=_object(["driver"], driver=DRIVER),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    invocations=_list(
        _object(
            ["executionSuccessful"],
            executionSuccessful={"type": "boolean"},
            toolExecutionNotifications=_list(NOTIFICATION),
        )
    ),
    results=_list(RESULT),
)
SCHEMA = _object(
    ["version", "runs"],
    **{"$schema": {"type": "string", "format": "uri"}},
    version={"const": "2.1.0"},
    runs=_list(RUN),
)
