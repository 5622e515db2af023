//! A containerd shim for the local cluster: runs components of `wasi:http/proxy` (WASI 0.2) on port `PORT` or 8080, and other
//! programs, as those of sidecars, as they are.

use std::{net::Ipv6Addr, sync::Arc};

use containerd_shim_wasm::{
    sandbox::{Sandbox, context::RuntimeContext},
    shim::{Cli, Shim},
};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use tokio::net::{TcpListener, TcpStream};
use wasmtime::{
    Config, Engine, OptLevel, Result, Store, bail,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    WasiHttpCtx, WasiHttpCtxView, WasiHttpView,
    io::TokioIo,
    p2::{
        bindings::{ProxyPre, http::types::Scheme},
        body::HyperOutgoingBody,
    },
};

struct Wasm;

impl Shim for Wasm {
    type Sandbox = Runner;

    fn name() -> &'static str {
        "wasm"
    }
}

#[derive(Default)]
struct Runner;

impl Sandbox for Runner {
    async fn run_wasi(&self, context: &impl RuntimeContext) -> anyhow::Result<i32> {
        let module = context.entrypoint().source.as_bytes()?.into_owned();
        let environment: Vec<_> = context
            .envs()
            .iter()
            .filter_map(|v| v.split_once('='))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        serve(&module, environment).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(0)
    }
}

struct Server {
    component: ProxyPre<State>,
    environment: Vec<(String, String)>,
}

async fn serve(module: &[u8], environment: Vec<(String, String)>) -> Result<()> {
    // Every container compiles its component anew: fast to start is better than fast to run.
    let engine = Engine::new(Config::new().cranelift_opt_level(OptLevel::None))?;
    let component = Component::from_binary(&engine, module)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let component = ProxyPre::new(linker.instantiate_pre(&component)?)?;
    let port =
        environment.iter().find(|(name, _)| name == "PORT").and_then(|(_, port)| port.parse().ok()).unwrap_or(8080);
    let server = Arc::new(Server { component, environment });
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(server.clone().talk(connection));
    }
}

impl Server {
    async fn talk(self: Arc<Self>, connection: TcpStream) {
        let answers = service_fn(|request| self.answer(request));
        if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(connection), answers).await {
            eprintln!("{error}");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<HyperOutgoingBody>> {
        let wasi = WasiCtx::builder().inherit_stdio().envs(&self.environment).build();
        let state = State { wasi, http: WasiHttpCtx::new(), table: ResourceTable::new() };
        let mut store = Store::new(self.component.engine(), state);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let outparam = store.data_mut().http().new_response_outparam(sender)?;
        let component = self.component.clone();
        let task = tokio::spawn(async move {
            let proxy = component.instantiate_async(&mut store).await?;
            proxy.wasi_http_incoming_handler().call_handle(store, request, outparam).await
        });
        match receiver.await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                task.await??;
                bail!("the component has set no response")
            }
        }
    }
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: Default::default() }
    }
}

fn main() {
    Wasm::run(None);
}
