"""What providers' own libraries say: signs requests as a provider would, or checks signatures as its users would.

Reads a JSON list of {"do", "scheme", "secret", "url", "body", "id", "at", "headers"} from standard input, and writes
a list of {"headers", "body"} or {"valid"} in the same order.
"""

import base64
import datetime
import json
import sys


def stripe(r):
    import stripe

    if r["do"] == "sign":
        made = stripe.WebhookSignature._compute_signature(f"{r['at']}.{r['body']}", r["secret"])
        return {"Stripe-Signature": f"t={r['at']},v1={made}"}
    return stripe.WebhookSignature.verify_header(r["body"], r["headers"]["stripe-signature"], r["secret"], None)


def standard(library):
    def both(r):
        webhook = library.Webhook(r["secret"])
        at = datetime.datetime.fromtimestamp(r["at"], tz=datetime.timezone.utc)
        if r["do"] == "sign":
            made = webhook.sign(msg_id=r["id"], timestamp=at, data=r["body"])
            return {"webhook-id": r["id"], "webhook-timestamp": str(r["at"]), "webhook-signature": made}
        webhook.verify(r["body"], r["headers"])
        return True

    return both


def standard_webhooks(r):
    import standardwebhooks

    return standard(standardwebhooks)(r)


def svix(r):
    import svix.webhooks

    said = standard(svix.webhooks)(r)
    if r["do"] == "sign":
        return {name.replace("webhook-", "svix-"): value for name, value in said.items()}
    return said


def slack(r):
    from slack_sdk.signature import SignatureVerifier

    verifier = SignatureVerifier(r["secret"])
    if r["do"] == "sign":
        made = verifier.generate_signature(timestamp=str(r["at"]), body=r["body"])
        return {"X-Slack-Signature": made, "X-Slack-Request-Timestamp": str(r["at"])}
    return verifier.is_valid_request(r["body"], r["headers"])


def twilio(r):
    from urllib.parse import parse_qsl
    from twilio.request_validator import RequestValidator

    validator = RequestValidator(r["secret"])
    form = dict(parse_qsl(r["body"], keep_blank_values=True))
    if r["do"] == "sign":
        return {"X-Twilio-Signature": validator.compute_signature(r["url"], form)}
    return validator.validate(r["url"], form, r["headers"]["x-twilio-signature"])


def sendgrid(r):
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = serialization.load_der_private_key(base64.b64decode(r["secret"]), None)
    made = private.sign((str(r["at"]) + r["body"]).encode(), ec.ECDSA(hashes.SHA256()))
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    from sendgrid.helpers.eventwebhook import EventWebhook

    spelt = base64.b64encode(made).decode()
    if not EventWebhook(base64.b64encode(public).decode()).verify_signature(r["body"], spelt, str(r["at"])):
        raise ValueError("SendGrid's own library refuses it")
    return {
        "X-Twilio-Email-Event-Webhook-Signature": spelt,
        "X-Twilio-Email-Event-Webhook-Timestamp": str(r["at"]),
    }


def sendgrid_key(r):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    der, info = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return {
        "private": base64.b64encode(
            private.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        ).decode(),
        "public": base64.b64encode(private.public_key().public_bytes(der, info)).decode(),
    }


def paddle(r):
    from paddle_billing.Notifications import Secret, Verifier
    from paddle_billing.Notifications.PaddleSignature import PaddleSignature

    if r["do"] == "sign":
        made = PaddleSignature.calculate_hmac(r["secret"], f"{r['at']}:{r['body']}".encode()).hexdigest()
        return {"Paddle-Signature": f"ts={r['at']};h1={made}"}

    class Request:
        body = r["body"].encode()
        content = body
        data = body
        headers = {"Paddle-Signature": r["headers"]["paddle-signature"]}

    return Verifier(300).verify(Request(), Secret(r["secret"]))


def square(r):
    from square.utils.webhooks_helper import verify_signature

    return verify_signature(
        request_body=r["body"],
        signature_header=r["headers"]["x-square-hmacsha256-signature"],
        signature_key=r["secret"],
        notification_url=r["url"],
    )


def adyen(r):
    from Adyen.util import generate_notification_sig, is_valid_hmac_notification

    body = json.loads(r["body"])
    items = [item["NotificationRequestItem"] for item in body["notificationItems"]]
    if r["do"] == "verify":
        return all(is_valid_hmac_notification(item, r["secret"]) for item in items)
    for item in items:
        made = generate_notification_sig(item, r["secret"])
        item["additionalData"] = {"hmacSignature": made.decode() if isinstance(made, bytes) else made}
    r["body"] = json.dumps(body)
    return {}


def hubspot(r):
    from hubspot.utils.signature import Signature

    if r["do"] == "sign":
        at = str(r["at"] * 1000)
        made = Signature.get_signature(
            client_secret=r["secret"],
            request_body=r["body"],
            signature_version="v3",
            http_uri=r["url"],
            http_method="POST",
            timestamp=at,
        )
        made = made.decode() if isinstance(made, bytes) else made
        return {"X-HubSpot-Signature-v3": made, "X-HubSpot-Request-Timestamp": at}
    return Signature.is_valid(
        signature=r["headers"]["x-hubspot-signature-v3"],
        client_secret=r["secret"],
        request_body=r["body"],
        http_uri=r["url"],
        http_method="POST",
        signature_version="v3",
        timestamp=r["headers"]["x-hubspot-request-timestamp"],
    )


def answer(r):
    said = globals()[r["scheme"].replace("-", "_")](r)
    if r["do"] == "verify":
        return {"valid": bool(said)}
    return {"headers": said, "body": r["body"]}


print(json.dumps([answer(r) for r in json.load(sys.stdin)]))
