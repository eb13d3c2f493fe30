use std::collections::BTreeSet;

use headwater_formats::names::ProjectName;

/// What one caller may see, resolved once per request. Public images are seen by everybody.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Viewer(Sight);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sight {
    Everything,
    PrivateIn(BTreeSet<ProjectName>),
}

impl Viewer {
    /// Somebody unknown: sees public images and nothing else.
    pub fn guest() -> Self {
        Self(Sight::PrivateIn(BTreeSet::new()))
    }

    /// Who works on the data directory itself, or administers the server: sees everything.
    pub fn operator() -> Self {
        Self(Sight::Everything)
    }

    /// Somebody who may see the private images of these projects.
    pub fn granted(projects: impl IntoIterator<Item = ProjectName>) -> Self {
        Self(Sight::PrivateIn(projects.into_iter().collect()))
    }

    /// Whether this viewer sees the private images of that project.
    pub fn sees_private_in(&self, project: &ProjectName) -> bool {
        match &self.0 {
            Sight::Everything => true,
            Sight::PrivateIn(projects) => projects.contains(project),
        }
    }

    /// The projects whose private images this viewer sees; `None` means all of them.
    pub fn private_projects(&self) -> Option<&BTreeSet<ProjectName>> {
        match &self.0 {
            Sight::Everything => None,
            Sight::PrivateIn(projects) => Some(projects),
        }
    }
}
