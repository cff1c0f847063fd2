//! Generators and giving the turn away: `cargo run --example generators`.
//!
//! The first pages of gevent's and greenlet's tutorials, and Python's generators with
//! `send`. All of it runs on this one thread, so what is printed comes in the same order
//! every time: as in `generators.out`, which a test compares.

use greenlet::GeneratorState::{Complete, Yielded};
use greenlet::sync::Queue;
use greenlet::{Generator, Greenlet, Yielder, scope, sleep, spawn, timeout};
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

fn main() {
    ping_pong();
    squares_on_demand();
    the_same_fringe();
    a_running_mean();
    producer_and_consumer();
    a_body_that_waits();
    a_body_that_is_dropped();
}

/// Two greenlets that give each other the turn. In greenlet's tutorial 78 is never printed,
/// since nobody switches back; here both come to their ends.
fn ping_pong() {
    println!("Two that switch to each other");
    let both: Rc<OnceCell<[Greenlet<()>; 2]>> = Rc::default();
    let test1 = spawn({
        let both = both.clone();
        move || {
            println!("{}", 12);
            both.get().unwrap()[1].switch_to();
            println!("{}", 34);
        }
    });
    let test2 = spawn({
        let both = both.clone();
        move || {
            println!("{}", 56);
            both.get().unwrap()[0].switch_to();
            println!("{}", 78);
        }
    });
    both.set([test1, test2]).unwrap();
    let [test1, test2] = both.get().unwrap();
    test1.switch_to();
    test2.wait();
}

/// A generator that is sent nothing is an iterator.
fn squares_on_demand() {
    heading("Squares, as they are asked for");
    let squares = Generator::new(|y, ()| {
        for n in 1.. {
            println!("  computes the square of {n}");
            y.yield_(n * n);
        }
    });
    for square in squares.take_while(|&square| square < 10) {
        println!("got {square}");
    }
}

enum Tree {
    Leaf(char),
    Node(Box<Tree>, Box<Tree>),
}

impl Tree {
    fn leaf(c: char) -> Box<Tree> {
        Box::new(Tree::Leaf(c))
    }

    fn node(left: Box<Tree>, right: Box<Tree>) -> Box<Tree> {
        Box::new(Tree::Node(left, right))
    }

    /// Any function may yield, from any depth.
    fn walk(&self, y: &Yielder<(), char>) {
        match self {
            Tree::Leaf(c) => y.yield_(*c),
            Tree::Node(left, right) => {
                left.walk(y);
                right.walk(y);
            }
        }
    }
}

/// Whether two trees of different shapes have the same leaves, in order: two walks side by
/// side, which end at the first difference.
fn the_same_fringe() {
    heading("The same fringe");
    let (leaf, node) = (Tree::leaf, Tree::node);
    let left = node(node(leaf('a'), leaf('b')), leaf('c'));
    let right = node(leaf('a'), node(leaf('b'), leaf('c')));
    let walk = |tree: Box<Tree>| Generator::new(move |y, ()| tree.walk(y));
    println!("equal: {}", walk(left).eq(walk(right)));
}

/// Python's `send`: each resume hands a value in.
fn a_running_mean() {
    heading("A running mean");
    let mut mean = Generator::<f64, f64, ()>::new(|y, first| {
        let (mut sum, mut n) = (first, 1.0);
        loop {
            sum += y.yield_(sum / n);
            n += 1.0;
        }
    });
    for value in [10.0, 20.0, 60.0] {
        if let Yielded(so_far) = mean.resume(value) {
            println!("sent {value}, mean {so_far}");
        }
    }
}

/// A producer that drives its consumer, and gets its answers, item by item.
fn producer_and_consumer() {
    heading("A producer and a consumer");
    let mut consumer = Generator::new(|y, mut item: Option<&str>| {
        let mut seen = 0;
        while let Some(word) = item {
            println!("  consumes {word}");
            seen += 1;
            item = y.yield_(format!("{} letters", word.len()));
        }
        seen
    });
    for word in ["spam", "eggs", "bacon"] {
        println!("produces {word}");
        match consumer.resume(Some(word)) {
            Yielded(answer) => println!("got {answer}"),
            Complete(seen) => println!("had enough after {seen}"),
        }
    }
    // None is the end.
    if let Complete(seen) = consumer.resume(None) {
        println!("{seen} were consumed");
    }
}

/// The body runs as whoever drives it: its waits, and limits, are the driver's.
fn a_body_that_waits() {
    heading("A body that waits");
    let queue = Rc::new(Queue::unbounded());
    scope(|s| {
        s.spawn(|| {
            for word in ["un", "deux", "trois"] {
                sleep(ms(10));
                queue.put(word).unwrap();
            }
        });
        s.spawn(|| {
            let queue = queue.clone();
            let mut words = Generator::new(move |y, ()| {
                while let Ok(word) = queue.get() {
                    y.yield_(word.to_uppercase());
                }
            });
            for _ in 0..3 {
                println!("got {:?}", words.next());
            }
            let fourth = timeout(ms(20), || words.next());
            println!("the fourth: {fourth:?}, finished: {}", words.is_finished());
        });
    });
}

/// One that is not driven to its end is unwound when it is dropped.
fn a_body_that_is_dropped() {
    heading("A body that is dropped");
    struct File(&'static str);
    impl Drop for File {
        fn drop(&mut self) {
            println!("  {} is closed", self.0);
        }
    }
    let mut lines = Generator::new(|y, ()| {
        let _file = File("the file");
        for n in 1.. {
            y.yield_(format!("line {n}"));
        }
    });
    println!("{}", lines.next().unwrap());
    println!("{}", lines.next().unwrap());
    drop(lines);
    println!("done");
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
