"""Harbor's settings by name: what its clients send whole, though nobody here has all of it.

A client such as Terraform's provider sends names of sign-in, mail and scanning with every change. Where no plugin
declares them they are left aside; a name that Harbor does not have either is a mistake, and refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from corereg import BadRequest, Registry

log = logging.getLogger(__name__)

AUTH_MODE = "auth_mode"
LOCAL = "db_auth"
"""Harbor's word for users whose passwords the registry keeps itself."""

HARBORS = frozenset(
    """
    audit_log_forward_endpoint auth_mode banner_message disabled_audit_log_event_types
    email_from email_host email_identity email_insecure email_password email_port email_ssl email_username
    http_authproxy_admin_groups http_authproxy_admin_usernames http_authproxy_endpoint
    http_authproxy_server_certificate http_authproxy_skip_search http_authproxy_tokenreview_endpoint
    http_authproxy_verify_cert
    ldap_base_dn ldap_filter ldap_group_admin_dn ldap_group_attach_parallel ldap_group_attribute_name
    ldap_group_base_dn ldap_group_membership_attribute ldap_group_search_filter ldap_group_search_scope ldap_scope
    ldap_search_dn ldap_search_password ldap_timeout ldap_uid ldap_url ldap_verify_cert
    notification_enable
    oidc_admin_group oidc_auto_onboard oidc_client_id oidc_client_secret oidc_endpoint oidc_extra_redirect_parms
    oidc_group_filter oidc_groups_claim oidc_logout oidc_name oidc_scope oidc_user_claim oidc_verify_cert
    primary_auth_mode project_creation_restriction quota_per_project_enable read_only
    robot_name_prefix robot_token_duration scan_all_policy scanner_skip_update_pulltime self_registration
    session_timeout skip_audit_log_database storage_per_project token_expiration
    uaa_client_id uaa_client_secret uaa_endpoint uaa_verify_cert
    """.split()  # noqa: SIM905 - read as words, and kept in seventeen lines instead of sixty
)


def taken(registry: Registry, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that are to be set. Raises BadRequest for a way to sign in that is not there.

    A name that is neither declared nor Harbor's is among them: whoever sets it says what is wrong.
    """
    left = {name for name in values if name in HARBORS and name not in registry.settings.declared}
    if AUTH_MODE in left and values[AUTH_MODE] != LOCAL:
        message = f"{AUTH_MODE} is {LOCAL} here: how people sign in follows from the plugins that are enabled"
        raise BadRequest(message)
    aside = sorted(left - {AUTH_MODE})
    if aside:
        log.info("settings of Harbor's that no plugin declares are left aside: %s", ", ".join(aside))
    return {name: value for name, value in values.items() if name not in left}
