//! Clients that repeat until they have an answer, each time through any of three gateways. Whatever happens to gateways and to the server between them, what
//! was acknowledged is stored; and it is stored once where nothing happens but that answers are lost and clients give up.
//!
//! Time is paused. A run says its seed when it fails.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::tests::{Gateway, Place};
use crate::batch::tests::alive;
use crate::spool::disk::faulty::FaultyDisk;

const GATEWAYS: usize = 3;
const CLIENTS: usize = 12;

/// Those that were not killed.
type Standing = Rc<RefCell<Vec<Rc<Gateway>>>>;

#[test]
fn whatever_happens_what_was_acknowledged_is_stored() {
    (0..40).for_each(|seed| run(seed, true));
}

#[test]
fn lost_answers_alone_store_nothing_twice() {
    (100..140).for_each(|seed| run(seed, false));
}

fn run(seed: u64, faults: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (place, standing) = (Place::new(), Standing::default());
        // Some are far away, so that there is time for much while they are asked.
        place.known.lock().slow = Duration::from_millis(seed % 4 * 15);
        for number in 0..GATEWAYS {
            let disk = FaultyDisk::new(seed * 10 + number as u64);
            let gateway = place.gateway_on(&format!("g{number}"), disk).await;
            standing.borrow_mut().push(Rc::new(gateway));
        }
        let clients: Vec<_> =
            (0..CLIENTS).map(|client| tokio::task::spawn_local(send(seed, client, standing.clone()))).collect();
        let killed = if faults { trouble(seed, &place, &standing).await } else { Vec::new() };
        for client in clients {
            client.await.unwrap();
        }
        // Those that were killed come again, with what is on their disks.
        let mut again = Vec::new();
        for disk in killed {
            disk.restart();
            again.push(place.gateway_on(&format!("again {}", again.len()), disk).await);
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        let stored = place.sink.stored("a");
        for client in 0..CLIENTS {
            let found = stored.get(&format!("c{client}")).copied().unwrap_or(0);
            assert!(found >= 1, "seed {seed}: request {client} was acknowledged, and nobody has it");
            assert!(found == 1 || faults, "seed {seed}: request {client} is stored {found} times");
        }
    });
}

/// One request, until it is acknowledged.
async fn send(seed: u64, client: usize, standing: Standing) {
    let mut rng = StdRng::seed_from_u64(seed * 1000 + client as u64);
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..400))).await;
        let gateway = {
            let standing = standing.borrow();
            standing[rng.random_range(0..standing.len())].clone()
        };
        let (answer, peer) = alive();
        let patience = Duration::from_millis(if rng.random_bool(0.3) { rng.random_range(0..200) } else { 10_000 });
        let request = format!("c{client} a=1");
        let outcome = tokio::time::timeout(patience, gateway.take(&request, answer)).await;
        // Of one that was killed nothing is heard.
        let heard = standing.borrow().iter().any(|one| Rc::ptr_eq(one, &gateway));
        let lost = rng.random_bool(0.4);
        match outcome {
            Ok(Ok(())) if heard && !lost => return,
            _ => peer.break_off(),
        }
    }
}

/// What happens meanwhile; the disks of gateways that were killed.
async fn trouble(seed: u64, place: &Place, standing: &Standing) -> Vec<FaultyDisk> {
    let mut rng = StdRng::seed_from_u64(!seed);
    let (mut killed, mut earlier) = (Vec::new(), place.known.lock().digests.clone());
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..600))).await;
        let mut known = place.known.lock();
        match rng.random_range(0..5) {
            0 => known.away = !known.away,
            1 => known.digests.clear(),
            // A replica takes over that had heard less.
            2 => std::mem::swap(&mut known.digests, &mut earlier),
            3 => earlier.clone_from(&known.digests),
            _ if standing.borrow().len() > 1 => {
                let victim = rng.random_range(0..standing.borrow().len());
                let victim = standing.borrow_mut().swap_remove(victim);
                drop(known);
                killed.push(victim.kill());
            }
            _ => {}
        }
    }
    place.known.lock().away = false;
    killed
}
