"""The parts of the custom resources that the chart uses, as strict schemas: what is not listed is refused.

KEDA 2.20 (ScaledObject, TriggerAuthentication) and the Prometheus operator's v1 monitors and rules.
"""

from typing import Any

Schema = dict[str, Any]


def _object(required: str = "", **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
SELECTOR = _object("matchLabels", matchLabels=TEXTS)
DURATION: Schema = {"type": "string", "pattern": "^[0-9]+(s|m|h)$"}
POLICY = _object(
    "type value periodSeconds", type={"enum": ["Pods", "Percent"]}, value=COUNT, periodSeconds=COUNT
)
RULES = _object(stabilizationWindowSeconds=COUNT, policies=_list(POLICY))
ENDPOINT = _object("port path interval", port=TEXT, path=TEXT, interval=DURATION)
ALERT = _object(
    "alert expr labels annotations",
    alert=TEXT,
    expr=TEXT,
    labels=TEXTS,
    annotations=TEXTS,
    **{"for": DURATION, "keep_firing_for": DURATION},
)
RECORD = _object("record expr", record=TEXT, expr=TEXT, labels=TEXTS)

SPECS: dict[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): _object(
        "scaleTargetRef triggers",
        scaleTargetRef=_object("name", apiVersion=TEXT, kind=TEXT, name=TEXT),
        minReplicaCount=COUNT,
        maxReplicaCount=COUNT,
        pollingInterval=COUNT,
        cooldownPeriod=COUNT,
        fallback=_object(
            "failureThreshold replicas",
            failureThreshold=COUNT,
            replicas=COUNT,
            behavior={
                "enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]
            },
        ),
        advanced=_object(
            horizontalPodAutoscalerConfig=_object(behavior=_object(scaleUp=RULES, scaleDown=RULES))
        ),
        triggers=_list(
            _object(
                "type metadata",
                type={"enum": ["prometheus", "redis"]},
                name=TEXT,
                metricType={"enum": ["AverageValue", "Value"]},
                metadata=TEXTS,
                authenticationRef=_object("name", name=TEXT),
            ),
            least=1,
        ),
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): _object(
        secretTargetRef=_list(_object("parameter name key", parameter=TEXT, name=TEXT, key=TEXT), least=1)
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _object(
        "selector endpoints", selector=SELECTOR, endpoints=_list(ENDPOINT, least=1)
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): _object(
        "selector podMetricsEndpoints", selector=SELECTOR, podMetricsEndpoints=_list(ENDPOINT, least=1)
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _object(
        "groups",
        groups=_list(
            _object("name rules", name=TEXT, interval=DURATION, rules=_list({"anyOf": [ALERT, RECORD]}, 1)), 1
        ),
    ),
}
