use std::collections::BTreeMap;
use std::fmt;

use headwater_formats::alias::split_arch;
use headwater_formats::arch::Architecture;
use headwater_formats::digest::Fingerprint;
use headwater_formats::image::ImageType;
use headwater_formats::names::{AliasName, ProjectName};
use headwater_formats::timestamp::Timestamp;

use super::audit::{Action, record};
use super::engine::{Row, Tx, values};
use super::images::find;
use super::names::{folded, leads_somewhere};
use super::records::Changed;
use super::rows;
use super::sight::{Sight, project_id, sight};
use super::{Catalog, CatalogError, bump_revision, changes};
use crate::auth::{IdentityId, Viewer};

/// What an alias leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AliasTarget {
    /// One image, for ever (as in LXD).
    Image(Fingerprint),
    /// The newest version of a line of products, chosen by architecture and type when it is asked for.
    Follows {
        /// `os`; kept and compared in lower case, like the other two.
        os: String,
        /// `release`
        release: String,
        /// `variant`
        variant: String,
    },
}

impl fmt::Display for AliasTarget {
    /// As the audit writes it: a fingerprint, or the three words with colons between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(fingerprint) => fingerprint.fmt(f),
            Self::Follows { os, release, variant } => write!(f, "{os}:{release}:{variant}"),
        }
    }
}

/// An alias as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub name: AliasName,
    /// Free text.
    pub description: String,
    /// What it leads to.
    pub target: AliasTarget,
    /// Made from the product's own names, rather than by hand.
    pub generated: bool,
}

/// A hand-made alias, with what decides who may change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandMade {
    /// Free text.
    pub description: String,
    /// What it leads to.
    pub target: AliasTarget,
    /// Who published the image that it leads to; `None` for one that follows a product, and when that is not known.
    pub published_by: Option<IdentityId>,
}

/// What can be changed about a hand-made alias. `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AliasEdit {
    /// Free text.
    pub description: Option<String>,
    /// The image that it leads to.
    pub target: Option<Fingerprint>,
}

/// What the asker can use, for aliases that could mean several images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Architectures, best first; when none of them is there, any will do. An architecture at the end of the alias's
    /// name (`debian/12/arm64`) is stricter: then only that one will do.
    pub architectures: Vec<Architecture>,
    /// Only this type; without it, containers come before virtual machines.
    pub image_type: Option<ImageType>,
}

/// Where an alias led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The name as it was asked for.
    pub name: AliasName,
    /// Free text.
    pub description: String,
    /// The image.
    pub fingerprint: Fingerprint,
    /// Its type.
    pub image_type: ImageType,
}

/// The newest image of a product and type that a name leads to, or the one that it stays with.
struct Led {
    description: String,
    fingerprint: Fingerprint,
    image_type: ImageType,
    architecture: Architecture,
    /// What orders the images of one architecture and type: the greatest is the newest.
    age: (Option<String>, i64, Fingerprint),
}

impl Led {
    fn read(row: &Row) -> Result<Self, CatalogError> {
        let fingerprint = rows::parse("a fingerprint", &row.text(1)?)?;
        Ok(Self {
            description: row.text(0)?,
            fingerprint,
            image_type: rows::parse("an image type", &row.text(2)?)?,
            architecture: rows::parse("an architecture", &row.text(3)?)?,
            age: (row.opt_text(4)?, row.int(5)?, fingerprint),
        })
    }
}

impl Catalog {
    /// Finds what a name leads to: a hand-made alias first, fixed or following, then the generated names; the whole name
    /// first, then without an architecture at its end. Only images that the viewer may see count: an alias that leads
    /// to none is passed over. One that leads to some is final: when none of them is of the wanted type or architecture, nothing is found.
    ///
    /// A name that follows leads to the first of the wanted architectures that is there, in it to the first type that is there, and in that
    /// to the newest version. Two products of one architecture can have a generated name in common (`bookworm` and `12`): the
    /// newest version of all of them is meant.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn resolve_alias(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        name: &AliasName,
        wanted: &Wanted,
    ) -> Result<Option<Resolved>, CatalogError> {
        let private = viewer.sees_private_in(project);
        let sql = all_led_to(private);
        let values = |name: &str| values![project.as_str(), name, Sight { project: 0, private }.names()];
        let (found, only) = match split_arch(name.as_str()) {
            (_, None) => (self.engine.fetch(sql, values(name.as_str())).await?, None),
            (base, Some(architecture)) => {
                // Both of one moment: an alias that is renamed meanwhile is found by the old name or by the new one.
                let mut tx = self.engine.read().await?;
                let whole = tx.rows(sql.clone(), values(name.as_str())).await?;
                let found = match whole.is_empty() {
                    true => (tx.rows(sql, values(base)).await?, Some(architecture)),
                    false => (whole, None),
                };
                tx.commit().await?;
                found
            }
        };
        if found.is_empty() {
            let mut tx = self.engine.read().await?;
            sight(&mut tx, viewer, project).await?;
        }
        let found = found.iter().map(Led::read).collect::<Result<Vec<_>, _>>()?;
        Ok(choose(found, only, wanted).map(|led| Resolved {
            name: name.clone(),
            description: led.description,
            fingerprint: led.fingerprint,
            image_type: led.image_type,
        }))
    }

    /// Up to `limit` aliases by name, after the given one: those that lead to something the viewer may see, hand-made
    /// and generated. Who sees all of the project also gets aliases that follow a product which has no image (yet, or any more).
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], also for a project in which the viewer may see nothing.
    pub async fn aliases(
        &self,
        viewer: &Viewer,
        project: &ProjectName,
        after: Option<&AliasName>,
        limit: usize,
    ) -> Result<Vec<Alias>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let sight = sight(&mut tx, viewer, project).await?;
        let after = after.map(AliasName::as_str).unwrap_or_default();
        let mut aliases: BTreeMap<AliasName, Alias> = BTreeMap::new();
        for alias in generated(&mut tx, sight, after, limit).await?.into_iter().chain(
            by_hand(&mut tx, sight, after, limit).await?, // after the generated ones, so that they win
        ) {
            aliases.insert(alias.name.clone(), alias);
        }
        tx.commit().await?;
        Ok(aliases.into_values().take(limit).collect())
    }

    /// Makes an alias. A hand-made alias may have the name of a generated one, and then wins. One that follows a product may be made
    /// before the product has an image.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], [`CatalogError::AliasExists`], [`CatalogError::NoImage`].
    pub async fn create_alias(
        &self,
        project: &ProjectName,
        name: &AliasName,
        description: &str,
        target: &AliasTarget,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let in_project = Some(project);
        let project = project_id(&mut tx, project).await?;
        let (image, line) = match target {
            AliasTarget::Image(fingerprint) => {
                (Some(find(&mut tx, project, fingerprint).await?.id), [None, None, None])
            }
            AliasTarget::Follows { os, release, variant } => {
                (None, [os, release, variant].map(|word| Some(word.to_lowercase())))
            }
        };
        let [os, release, variant] = line;
        let made = tx
            .execute(
                "INSERT INTO aliases (project_id, name, folded, description, created_at, image_id, os, release, variant) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (project_id, name) DO NOTHING",
                values![
                    project,
                    name.as_str(),
                    folded(name.as_str()),
                    description,
                    now.unix(),
                    image,
                    os,
                    release,
                    variant
                ],
            )
            .await?;
        if made == 0 {
            return Err(CatalogError::AliasExists(name.clone()));
        }
        changes::alias(&mut tx, project, name.as_str()).await?;
        let mut changed = Changed::default();
        changed.alias(&mut tx, project, name).await?;
        changed.write(&mut tx).await?;
        let target = target.to_string();
        let detail = [("target", target.as_str())];
        record(&mut tx, &self.actor, Action::ImageAliasCreated, in_project, name.as_str(), &detail, now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await
    }

    /// A hand-made alias of that name; `None` when there is none, also when the name is a generated one.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`].
    pub async fn hand_made_alias(
        &self,
        project: &ProjectName,
        name: &AliasName,
    ) -> Result<Option<HandMade>, CatalogError> {
        let mut tx = self.engine.read().await?;
        let project = project_id(&mut tx, project).await?;
        let found = hand_made(&mut tx, project, name).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Changes a hand-made alias as is decided when it is seen as it stands, which nobody else changes meanwhile. A change that
    /// changes nothing leaves the revision as it is.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], [`CatalogError::NoAlias`], [`CatalogError::NoImage`].
    pub async fn edit_alias_as<E>(
        &self,
        project: &ProjectName,
        name: &AliasName,
        decide: impl FnOnce(&HandMade) -> Result<AliasEdit, E> + Send,
        now: Timestamp,
    ) -> Result<Result<(), E>, CatalogError> {
        let mut tx = self.engine.write().await?;
        let id = project_id(&mut tx, project).await?;
        let missing = || CatalogError::NoAlias(name.as_str().to_owned());
        let before = hand_made(&mut tx, id, name).await?.ok_or_else(missing)?;
        let edit = match decide(&before) {
            Ok(edit) => edit,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let description = edit.description.filter(|new| *new != before.description);
        let target = edit.target.filter(|new| before.target != AliasTarget::Image(*new));
        let mut changed = Changed::default();
        changed.alias(&mut tx, id, name).await?;
        if let Some(new) = &description {
            tx.execute(
                "UPDATE aliases SET description = $3 WHERE project_id = $1 AND name = $2",
                values![id, name.as_str(), new.as_str()],
            )
            .await?;
        }
        if let Some(new) = &target {
            let image = find(&mut tx, id, new).await?.id;
            changes::alias(&mut tx, id, name.as_str()).await?;
            tx.execute(
                "UPDATE aliases SET image_id = $3, os = NULL, release = NULL, variant = NULL \
                 WHERE project_id = $1 AND name = $2",
                values![id, name.as_str(), image],
            )
            .await?;
            changes::alias(&mut tx, id, name.as_str()).await?;
        }
        if description.is_none() && target.is_none() {
            return Ok(Ok(()));
        }
        changed.alias(&mut tx, id, name).await?;
        changed.write(&mut tx).await?;
        let target = target.map(|new| new.to_string());
        let changes = [("description", description.as_deref()), ("target", target.as_deref())];
        let detail: Vec<_> = changes.into_iter().filter_map(|(key, new)| Some((key, new?))).collect();
        record(&mut tx, &self.actor, Action::ImageAliasUpdated, Some(project), name.as_str(), &detail, now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Removes a hand-made alias.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], [`CatalogError::NoAlias`].
    pub async fn delete_alias(
        &self,
        project: &ProjectName,
        name: &AliasName,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let in_project = Some(project);
        let project = project_id(&mut tx, project).await?;
        changes::alias(&mut tx, project, name.as_str()).await?;
        let mut changed = Changed::default();
        changed.alias(&mut tx, project, name).await?;
        let gone = tx
            .execute("DELETE FROM aliases WHERE project_id = $1 AND name = $2", values![project, name.as_str()])
            .await?;
        if gone == 0 {
            return Err(CatalogError::NoAlias(name.as_str().to_owned()));
        }
        changed.write(&mut tx).await?;
        record(&mut tx, &self.actor, Action::ImageAliasDeleted, in_project, name.as_str(), &[], now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await
    }

    /// Gives a hand-made alias another name; description and target stay.
    ///
    /// # Errors
    /// [`CatalogError::NoProject`], [`CatalogError::NoAlias`], [`CatalogError::AliasExists`].
    pub async fn rename_alias(
        &self,
        project: &ProjectName,
        old: &AliasName,
        new: &AliasName,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.engine.write().await?;
        let in_project = Some(project);
        let project = project_id(&mut tx, project).await?;
        let sql = "SELECT 1 FROM aliases WHERE project_id = $1 AND name = $2";
        if tx.row(sql, values![project, old.as_str()]).await?.is_none() {
            return Err(CatalogError::NoAlias(old.as_str().to_owned()));
        }
        if tx.row(sql, values![project, new.as_str()]).await?.is_some() {
            return Err(CatalogError::AliasExists(new.clone()));
        }
        changes::alias(&mut tx, project, old.as_str()).await?;
        let mut changed = Changed::default();
        changed.alias(&mut tx, project, old).await?;
        tx.execute(
            "UPDATE aliases SET name = $3, folded = $4 WHERE project_id = $1 AND name = $2",
            values![project, old.as_str(), new.as_str(), folded(new.as_str())],
        )
        .await?;
        changes::alias(&mut tx, project, new.as_str()).await?;
        changed.alias(&mut tx, project, new).await?;
        changed.write(&mut tx).await?;
        let detail = [("new_name", new.as_str())];
        record(&mut tx, &self.actor, Action::ImageAliasRenamed, in_project, old.as_str(), &detail, now).await?;
        bump_revision(&mut tx, now).await?;
        tx.commit().await
    }
}

async fn hand_made(tx: &mut Tx, project: i64, name: &AliasName) -> Result<Option<HandMade>, CatalogError> {
    let sql = "SELECT a.description, i.fingerprint, i.published_by, a.os, a.release, a.variant \
         FROM aliases a LEFT JOIN images i ON i.id = a.image_id WHERE a.project_id = $1 AND a.name = $2";
    let Some(row) = tx.row(sql, values![project, name.as_str()]).await? else { return Ok(None) };
    let target = match row.opt_text(1)? {
        Some(fingerprint) => AliasTarget::Image(rows::parse("a fingerprint", &fingerprint)?),
        None => AliasTarget::Follows { os: row.text(3)?, release: row.text(4)?, variant: row.text(5)? },
    };
    Ok(Some(HandMade { description: row.text(0)?, target, published_by: row.opt_int(2)?.map(IdentityId) }))
}

/// The statement that finds all that the name `$2` leads to, as it stands, in the project `$1`, with the generated names `$3`
/// ([`Sight::names`]); each row is a [`Led`]. There is none when no alias has the name that leads to something visible.
fn all_led_to(private: bool) -> String {
    const LED: &str = "i.fingerprint, i.image_type, i.architecture, i.version, i.preference";
    // The project is found by its name, in the statement.
    let sight = Sight { project: 0, private };
    let newest = |image_type: ImageType| {
        format!(
            "SELECT led.description, {LED} FROM led JOIN images i ON i.id = (SELECT n.id FROM images n \
             WHERE n.product_id = led.product AND n.image_type = '{image_type}'{} \
             ORDER BY n.version DESC, n.preference DESC, n.fingerprint DESC LIMIT 1)",
            sight.and_visible("n")
        )
    };
    format!(
        "WITH hand AS (SELECT a.project_id, a.description, a.image_id, a.os, a.release, a.variant FROM aliases a \
         WHERE a.project_id = (SELECT id FROM projects WHERE name = $1) AND a.name = $2 AND {}), \
         led AS (SELECT hand.description, p.id AS product FROM hand JOIN products p ON p.project_id = hand.project_id \
         AND p.os = hand.os AND p.release = hand.release AND p.variant = hand.variant \
         UNION ALL SELECT '', n.product_id FROM product_names n \
         WHERE n.project_id = (SELECT id FROM projects WHERE name = $1) AND n.public = $3 AND n.name = $2 \
         AND NOT EXISTS (SELECT 1 FROM hand)) \
         SELECT hand.description, {LED} FROM hand JOIN images i ON i.id = hand.image_id \
         UNION ALL {} UNION ALL {}",
        leads_somewhere(sight),
        newest(ImageType::Container),
        newest(ImageType::VirtualMachine)
    )
}

/// The newest image of the best architecture and type among these.
fn choose(found: Vec<Led>, only: Option<Architecture>, wanted: &Wanted) -> Option<Led> {
    let fits = |led: &Led| {
        only.is_none_or(|only| only == led.architecture)
            && wanted.image_type.is_none_or(|wanted| wanted == led.image_type)
    };
    // Those that are not wanted come after all that are, and what is newest among them wins.
    let architecture = |led: &Led| {
        let place = wanted.architectures.iter().position(|wanted| *wanted == led.architecture);
        if only.is_some() { 0 } else { place.unwrap_or(wanted.architectures.len()) }
    };
    let better = |a: &Led, b: &Led| {
        let machine = |led: &Led| led.image_type == ImageType::VirtualMachine;
        architecture(b).cmp(&architecture(a)).then(machine(b).cmp(&machine(a))).then(a.age.cmp(&b.age))
    };
    found.into_iter().filter(fits).max_by(better)
}

async fn by_hand(tx: &mut Tx, sight: Sight, after: &str, limit: usize) -> Result<Vec<Alias>, CatalogError> {
    let visible = if sight.private { String::new() } else { format!(" AND {}", leads_somewhere(sight)) };
    let sql = format!(
        "SELECT a.name, a.description, i.fingerprint, a.os, a.release, a.variant \
         FROM aliases a LEFT JOIN images i ON i.id = a.image_id \
         WHERE a.project_id = $1 AND a.name > $2{visible} ORDER BY a.name LIMIT $3"
    );
    let mut aliases = Vec::new();
    for row in tx.rows(sql, values![sight.project, after, rows::limit(limit)]).await? {
        aliases.push(Alias {
            name: rows::parse("an alias", &row.text(0)?)?,
            description: row.text(1)?,
            target: match row.opt_text(2)? {
                Some(fingerprint) => AliasTarget::Image(rows::parse("a fingerprint", &fingerprint)?),
                None => AliasTarget::Follows { os: row.text(3)?, release: row.text(4)?, variant: row.text(5)? },
            },
            generated: false,
        });
    }
    Ok(aliases)
}

async fn generated(tx: &mut Tx, sight: Sight, after: &str, limit: usize) -> Result<Vec<Alias>, CatalogError> {
    // Products of several architectures have the same names; where lines differ, the first one stands for all.
    let sql = "SELECT n.name, MIN(p.os || ':' || p.release || ':' || p.variant) \
         FROM product_names n JOIN products p ON p.id = n.product_id \
         WHERE n.project_id = $1 AND n.public = $2 AND n.name > $3 GROUP BY n.name ORDER BY n.name LIMIT $4";
    let mut aliases = Vec::new();
    for row in tx.rows(sql, values![sight.project, sight.names(), after, rows::limit(limit)]).await? {
        let line = row.text(1)?;
        let mut words = line.splitn(3, ':').map(str::to_owned);
        let (Some(os), Some(release), Some(variant)) = (words.next(), words.next(), words.next()) else {
            return Err(CatalogError::Corrupt(format!("{line:?} is no line of products")));
        };
        aliases.push(Alias {
            name: rows::parse("an alias", &row.text(0)?)?,
            description: String::new(),
            target: AliasTarget::Follows { os, release, variant },
            generated: true,
        });
    }
    Ok(aliases)
}
