//! Which deltas pay, by what is known of a product: pure, and the same for everybody who asks.
//!
//! The target is what clients want: the newest version. Its bases are what they have: the version before it, which who keeps up to date
//! has, and the versions that most clients were seen to hold, which tell of those who do not. Guests see no private image; so
//! where the newest version is private, what is newest for guests is a target, too.

use std::collections::{BTreeMap, HashMap, HashSet};

use headwater_formats::digest::Digest;
use headwater_formats::image::{FileFormat, ImageType};

use crate::catalog::{DeltaState, DeltaWish, KnownDelta, ProductRoot, ProductRoots};

/// The pairs that are wanted of a product, those that help most clients first.
pub(super) fn wanted(product: &ProductRoots, bases: usize) -> Vec<DeltaWish> {
    let mut wanted: Vec<DeltaWish> = Vec::new();
    for roots in kinds(product).values() {
        let public: Vec<&ProductRoot> = roots.iter().copied().filter(|root| root.public).collect();
        for seen in [roots, &public] {
            for wish in of_audience(seen, &product.held, bases) {
                if !wanted.iter().any(|known| (known.target, known.base) == (wish.target, wish.base)) {
                    wanted.push(wish);
                }
            }
        }
    }
    wanted
}

/// The pairs that would be wanted with this file as the newest one: for who asks about an older version.
pub(super) fn wanted_to(product: &ProductRoots, target: &Digest, bases: usize) -> Vec<DeltaWish> {
    let mut found = Vec::new();
    let versions = product.roots.iter().filter(|root| root.file.digest == *target).map(|root| &root.version);
    for version in versions {
        let roots = product.roots.iter().filter(|root| root.version <= *version).cloned().collect();
        let wishes = wanted(&ProductRoots { roots, ..product.clone() }, bases);
        found = wishes.into_iter().filter(|wish| wish.target == *target).collect();
    }
    found
}

/// What is to be written down of ready deltas, because by now their bases are held by so many clients that another one is
/// preferred: of each target all that it has, or nothing.
pub(super) fn preferred(product: &ProductRoots) -> Vec<DeltaWish> {
    let age: HashMap<Digest, usize> =
        product.roots.iter().enumerate().map(|(place, root)| (root.file.digest, place)).collect();
    let mut targets: BTreeMap<Digest, Vec<&KnownDelta>> = BTreeMap::new();
    for known in product.known.iter().filter(|known| known.state == DeltaState::Ready) {
        targets.entry(known.target).or_default().push(known);
    }
    let mut changed = Vec::new();
    for deltas in targets.values_mut() {
        let held = |delta: &KnownDelta| product.held.get(&delta.base).copied().unwrap_or_default();
        let by = |clients: &dyn Fn(&KnownDelta) -> u64| {
            let mut order: Vec<Digest> = Vec::new();
            let mut sorted = deltas.clone();
            sorted.sort_by_key(|delta| std::cmp::Reverse((clients(delta), age.get(&delta.base).copied())));
            order.extend(sorted.iter().map(|delta| delta.base));
            order
        };
        if by(&|delta| delta.clients) != by(&held) {
            changed.extend(deltas.iter().map(|delta| DeltaWish {
                target: delta.target,
                base: delta.base,
                clients: held(delta),
            }));
        }
    }
    changed
}

/// The files by what can be made of each other, each from the oldest version to the newest.
fn kinds(product: &ProductRoots) -> BTreeMap<(ImageType, FileFormat), Vec<&ProductRoot>> {
    let mut kinds: BTreeMap<_, Vec<&ProductRoot>> = BTreeMap::new();
    for root in &product.roots {
        kinds.entry((root.image_type, root.file.format)).or_default().push(root);
    }
    for roots in kinds.values_mut() {
        roots.sort_by(|a, b| a.version.cmp(&b.version));
    }
    kinds
}

/// The pairs of one type for who sees these files.
fn of_audience(roots: &[&ProductRoot], held: &HashMap<Digest, u64>, bases: usize) -> Vec<DeltaWish> {
    let Some((target, older)) = roots.split_last() else { return Vec::new() };
    let target_version = &target.version;
    let target = target.file.digest;
    let clients = |root: &ProductRoot| held.get(&root.file.digest).copied().unwrap_or_default();
    // Newest first; a file that several versions have counts once.
    let mut known = HashSet::from([target]);
    let older: Vec<&ProductRoot> = older
        .iter()
        .rev()
        .filter(|root| root.version < *target_version && known.insert(root.file.digest))
        .copied()
        .collect();
    let Some((before, others)) = older.split_first() else { return Vec::new() };
    let mut others: Vec<&ProductRoot> = others.iter().copied().filter(|root| clients(root) > 0).collect();
    others.sort_by_key(|root| std::cmp::Reverse(clients(root)));
    let mut chosen: Vec<&ProductRoot> = std::iter::once(*before).chain(others).take(bases).collect();
    // Those that help most first; the sorting is stable, so that the newest is first among equals.
    chosen.sort_by_key(|root| std::cmp::Reverse(clients(root)));
    chosen.into_iter().map(|root| DeltaWish { target, base: root.file.digest, clients: clients(root) }).collect()
}

#[cfg(test)]
mod tests {
    use headwater_formats::image::ImageFile;
    use headwater_formats::names::VersionName;
    use proptest::prelude::*;

    use super::*;

    fn file(number: u8) -> Digest {
        Digest::from_bytes([number; 32])
    }

    fn root(day: u8, number: u8, public: bool) -> ProductRoot {
        ProductRoot {
            version: VersionName::new(format!("202501{day:02}")).unwrap(),
            image_type: ImageType::Container,
            public,
            file: ImageFile { digest: file(number), size: 100, format: FileFormat::Squashfs },
        }
    }

    fn disk(day: u8, number: u8) -> ProductRoot {
        let file = ImageFile { digest: file(number), size: 100, format: FileFormat::Qcow2 };
        ProductRoot { image_type: ImageType::VirtualMachine, file, ..root(day, number, true) }
    }

    fn product(roots: Vec<ProductRoot>, held: &[(u8, u64)]) -> ProductRoots {
        let held = held.iter().map(|(number, clients)| (file(*number), *clients)).collect();
        ProductRoots { roots, held, known: Vec::new() }
    }

    fn pairs(product: &ProductRoots, bases: usize) -> Vec<(u8, u8)> {
        let first = |digest: &Digest| digest.as_bytes()[0];
        wanted(product, bases).iter().map(|wish| (first(&wish.target), first(&wish.base))).collect()
    }

    #[test]
    fn the_version_before_is_a_base_when_nothing_else_is_known() {
        let versions: Vec<_> = (1..=5).map(|day| root(day, day, true)).collect();
        assert_eq!(pairs(&product(versions, &[]), 3), [(5, 4)]);
        assert_eq!(pairs(&product(vec![root(1, 1, true)], &[]), 3), [], "there is nothing to start from");
        assert_eq!(pairs(&product(Vec::new(), &[]), 3), []);
    }

    #[test]
    fn what_clients_hold_comes_first() {
        let versions: Vec<_> = (1..=6).map(|day| root(day, day, true)).collect();
        let held = [(1, 3), (2, 40), (3, 7), (6, 100)];
        assert_eq!(pairs(&product(versions.clone(), &held), 3), [(6, 2), (6, 3), (6, 5)]);
        assert_eq!(pairs(&product(versions.clone(), &held), 1), [(6, 5)], "those who keep up are not forgotten");
        assert_eq!(pairs(&product(versions.clone(), &held), 0), []);
        assert_eq!(pairs(&product(versions, &[(1, 2), (2, 2)]), 2), [(6, 2), (6, 5)], "the newer of equals");
    }

    #[test]
    fn guests_have_a_newest_version_of_their_own() {
        let versions = vec![root(1, 1, true), root(2, 2, true), root(3, 3, false), root(4, 4, false)];
        assert_eq!(pairs(&product(versions, &[]), 3), [(4, 3), (2, 1)]);
        let versions = vec![root(1, 1, true), root(2, 2, false), root(3, 3, true)];
        assert_eq!(pairs(&product(versions, &[]), 3), [(3, 2), (3, 1)]);
    }

    #[test]
    fn an_older_version_can_be_asked_about() {
        let versions: Vec<_> = (1..=5).map(|day| root(day, day, true)).collect();
        let to = |target| {
            let wishes = wanted_to(&product(versions.clone(), &[(1, 2)]), &file(target), 3);
            wishes.iter().map(|wish| wish.base.as_bytes()[0]).collect::<Vec<_>>()
        };
        assert_eq!((to(5), to(3), to(1), to(9)), (vec![1, 4], vec![1, 2], vec![], vec![]));
    }

    #[test]
    fn types_are_not_mixed() {
        let versions = vec![root(1, 1, true), disk(1, 11), root(2, 2, true), disk(3, 13)];
        assert_eq!(pairs(&product(versions, &[]), 3), [(2, 1), (13, 11)]);
    }

    #[test]
    fn a_file_is_no_base_of_itself() {
        let again = vec![root(1, 1, true), root(2, 2, true), root(3, 2, true)];
        assert_eq!(pairs(&product(again, &[(2, 9)]), 3), [(2, 1)]);
        let back = vec![root(1, 1, true), root(2, 2, true), root(3, 1, true)];
        assert_eq!(pairs(&product(back, &[]), 3), [(1, 2)]);
    }

    fn known(target: u8, base: u8, state: DeltaState, clients: u64) -> KnownDelta {
        KnownDelta { target: file(target), base: file(base), state, clients }
    }

    #[test]
    fn counts_are_written_when_another_base_is_preferred() {
        let versions: Vec<_> = (1..=4).map(|day| root(day, day, true)).collect();
        let mut product = product(versions, &[(1, 6), (2, 5)]);
        product.known = vec![
            known(4, 1, DeltaState::Ready, 2),
            known(4, 2, DeltaState::Ready, 1),
            known(4, 3, DeltaState::Refused, 0),
        ];
        assert_eq!(preferred(&product), [], "the order is the same");
        product.held.insert(file(2), 7);
        let wish = |base, clients| DeltaWish { target: file(4), base: file(base), clients };
        assert_eq!(preferred(&product), [wish(1, 6), wish(2, 7)]);
        product.held = HashMap::new();
        assert_eq!(preferred(&product), [wish(1, 0), wish(2, 0)], "now the newer one is");
    }

    fn any_root() -> impl Strategy<Value = ProductRoot> {
        (1..9u8, 1..7u8, any::<bool>(), any::<bool>()).prop_map(|(day, number, public, vm)| {
            let root = if vm { disk(day, number + 100) } else { root(day, number, public) };
            ProductRoot { public, ..root }
        })
    }

    proptest! {
        #[test]
        fn wishes_are_for_pairs_that_can_be_listed(
            roots in proptest::collection::vec(any_root(), 0..12),
            held in proptest::collection::hash_map(1..110u8, 0..5u64, 0..12),
            bases in 0..5usize,
        ) {
            let held: Vec<(u8, u64)> = held.into_iter().collect();
            let product = product(roots, &held);
            let wanted = wanted(&product, bases);
            for (place, wish) in wanted.iter().enumerate() {
                prop_assert!(wish.target != wish.base);
                prop_assert!(wanted[place + 1..].iter().all(|other| (other.target, other.base) != (wish.target, wish.base)));
                // Some version has the target, an older one of the same kind the base.
                prop_assert!(product.roots.iter().any(|target| target.file.digest == wish.target
                    && product.roots.iter().any(|base| base.file.digest == wish.base
                        && base.version < target.version
                        && (base.image_type, base.file.format) == (target.image_type, target.file.format))));
                prop_assert_eq!(wish.clients, product.held.get(&wish.base).copied().unwrap_or_default());
            }
            // Two types, for each of them two audiences.
            let targets: HashSet<_> = wanted.iter().map(|wish| wish.target).collect();
            prop_assert!(targets.len() <= 4);
            for target in targets {
                prop_assert!(wanted.iter().filter(|wish| wish.target == target).count() <= 2 * bases);
            }
        }

        #[test]
        fn after_counts_are_written_there_is_nothing_to_write(
            held in proptest::collection::hash_map(1..8u8, 0..5u64, 0..8),
            stored in proptest::collection::vec(0..5u64, 7),
        ) {
            let held: Vec<(u8, u64)> = held.into_iter().collect();
            let mut product = product((1..=8).map(|day| root(day, day, true)).collect(), &held);
            product.known =
                stored.iter().zip(1..).map(|(clients, base)| known(8, base, DeltaState::Ready, *clients)).collect();
            for wish in preferred(&product) {
                let known = product.known.iter_mut().find(|known| known.base == wish.base).unwrap();
                known.clients = wish.clients;
            }
            prop_assert_eq!(preferred(&product), []);
        }
    }
}
