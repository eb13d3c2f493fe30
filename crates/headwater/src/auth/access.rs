//! What one caller may see and do, resolved once per request.

use std::sync::Arc;

use headwater_formats::names::ProjectName;

use super::{Identity, IdentityId, Manages, Role, Viewer};

/// A caller's rights.
#[derive(Debug, Clone)]
pub struct Access {
    viewer: Viewer,
    identity: Option<Arc<Identity>>,
    everything: bool,
}

impl Access {
    /// Nobody known: sees public images.
    pub fn guest() -> Self {
        Self { viewer: Viewer::guest(), identity: None, everything: false }
    }

    /// Who works on the data folder itself.
    pub fn operator() -> Self {
        Self { viewer: Viewer::operator(), identity: None, everything: true }
    }

    /// What an identity may do. Whether it has expired is not asked here.
    pub fn of(identity: Arc<Identity>) -> Self {
        let viewer = if identity.administrator {
            Viewer::operator()
        } else {
            Viewer::granted(identity.grants.iter().map(|grant| grant.project.clone()))
        };
        Self { viewer, everything: identity.administrator, identity: Some(identity) }
    }

    /// What this caller sees.
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// Who it is, if that is known.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Whether it is somebody known.
    pub fn is_trusted(&self) -> bool {
        self.everything || self.identity.is_some()
    }

    /// Whether it administers the server: identities, projects, everything in them.
    pub fn is_administrator(&self) -> bool {
        self.everything
    }

    /// Whether it has this role, or a greater one, in the project.
    pub fn has(&self, role: Role, project: &ProjectName) -> bool {
        self.everything || self.grants().any(|grant| grant.project == *project && grant.role >= role)
    }

    /// Whether it may change and delete an image of the project, given who published it.
    pub fn may_manage(&self, project: &ProjectName, published_by: Option<IdentityId>) -> bool {
        let own = || self.identity.as_ref().is_some_and(|identity| published_by == Some(identity.id));
        self.everything
            || self.grants().any(|grant| {
                grant.project == *project
                    && match (grant.role, grant.manages) {
                        (Role::Viewer, _) => false,
                        (Role::Publisher, Manages::Own) => own(),
                        (Role::Publisher, Manages::All) | (Role::Admin, _) => true,
                    }
            })
    }

    fn grants(&self) -> impl Iterator<Item = &super::Grant> {
        self.identity.iter().flat_map(|identity| &identity.grants)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Grant, IdentityKind};
    use super::*;
    use headwater_formats::timestamp::Timestamp;

    fn somebody(grants: &[(&str, Role, Manages)]) -> Access {
        let grant = |(project, role, manages): &(&str, Role, Manages)| Grant {
            project: ProjectName::new(*project).unwrap(),
            role: *role,
            manages: *manages,
        };
        Access::of(Arc::new(Identity {
            id: IdentityId(7),
            kind: IdentityKind::Token,
            name: "ci".into(),
            description: String::new(),
            subject: "hw_abcdefgh".into(),
            certificate: None,
            administrator: false,
            grants: grants.iter().map(grant).collect(),
            view: None,
            created_at: Timestamp::EPOCH,
            expires_at: None,
            last_used_at: None,
        }))
    }

    #[test]
    fn roles_include_the_smaller_ones_and_end_at_the_project() {
        let [team, other] = ["team", "other"].map(|name| ProjectName::new(name).unwrap());
        let publisher = somebody(&[("team", Role::Publisher, Manages::Own)]);
        assert!(publisher.has(Role::Viewer, &team) && publisher.has(Role::Publisher, &team));
        assert!(!publisher.has(Role::Admin, &team) && !publisher.has(Role::Viewer, &other));
        assert!(publisher.viewer().sees_private_in(&team) && !publisher.viewer().sees_private_in(&other));
    }

    #[test]
    fn who_may_change_an_image() {
        let team = ProjectName::new("team").unwrap();
        let (own, others) = (Some(IdentityId(7)), Some(IdentityId(8)));
        for (role, manages, expected) in [
            (Role::Viewer, Manages::All, [false, false, false]),
            (Role::Publisher, Manages::Own, [true, false, false]),
            (Role::Publisher, Manages::All, [true, true, true]),
            (Role::Admin, Manages::Own, [true, true, true]),
        ] {
            let access = somebody(&[("team", role, manages)]);
            let may = [own, others, None].map(|by| access.may_manage(&team, by));
            assert_eq!(may, expected, "{role} {manages:?}");
        }
        assert!(!Access::guest().may_manage(&team, None), "a guest is nobody, and nobody published it");
        assert!(Access::operator().may_manage(&team, others));
    }
}
