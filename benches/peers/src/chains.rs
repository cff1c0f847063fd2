//! Three calls above a yield, in four chains that share no code: see `benches/figures/yields.rs`.

use std::hint::black_box;
use std::marker::PhantomData;

/// A chain of calls with a yield at its end.
pub(crate) trait Call {
    fn call();
    fn call_async() -> impl Future<Output = ()> + Send;
}

/// A frame above `C`. Each number has code of its own.
pub(crate) struct Frame<const ID: usize, C>(PhantomData<C>);

impl<const ID: usize, C: Call> Call for Frame<ID, C> {
    #[inline(never)]
    fn call() {
        black_box(ID);
        C::call();
        black_box(ID); // or the call were a jump
    }

    async fn call_async() {
        black_box(ID);
        C::call_async().await;
        black_box(ID);
    }
}

pub(crate) type Deep3<const ID: usize, Y> = Frame<ID, Frame<ID, Frame<ID, Y>>>;
