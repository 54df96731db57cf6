"""Harbor's paths (swagger.yaml), one noun to a file."""

from __future__ import annotations

from collections.abc import Sequence

from corereg import Registry, Route
from corereg_projects.custom import Roles
from corereg_projects.documents import Documents
from corereg_projects.members import Members
from corereg_projects.projects import ProjectStore
from corereg_projects.routes.allowlists import AllowlistRoutes
from corereg_projects.routes.members import MemberRoutes
from corereg_projects.routes.metadata import MetadataRoutes
from corereg_projects.routes.permissions import PermissionRoutes
from corereg_projects.routes.projects import ProjectRoutes
from corereg_projects.routes.roles import RoleRoutes


def all_routes(
    registry: Registry, store: ProjectStore, members: Members, roles: Roles, documents: Documents
) -> Sequence[Route]:
    """Every route of the plugin."""
    return [
        *ProjectRoutes(registry, store, members, documents).routes(),
        *MetadataRoutes(store, documents).routes(),
        *MemberRoutes(members).routes(),
        *RoleRoutes(roles).routes(),
        *AllowlistRoutes(registry.database).routes(),
        *PermissionRoutes(store).routes(),
    ]
