//! The official Rust SDK, as it is.

use reqwest::Client;
use rmcp::{
    ServiceExt as _,
    model::CallToolRequestParams,
    transport::{
        StreamableHttpClientTransport,
        auth::{AuthClient, AuthorizationCallback, AuthorizationManager, AuthorizationRequest, OAuthState},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use super::{NATIVE, Visits, World, blocking, sdk::steps};

/// How it calls itself when it registers.
pub(crate) const NAME: &str = "Rust Example Client";

#[rstest]
#[case::registered(false)]
#[case::document(true)]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser"]
async fn an_unmodified_client_does_everything_by_itself(#[case] document: bool) {
    let world = World::new().await;
    let visits = world.visits("rmcp", &steps(if document { "Native Document Client" } else { NAME }));
    let client_id = document.then(|| world.site.client_id(NATIVE));
    let client = run(&world.local.resource(), client_id.clone(), None, visits).await;
    match client_id {
        Some(client_id) => assert_eq!(client, client_id),
        None => assert!(client.starts_with("dcr_"), "{client}"),
    }
}

/// From the bare URL to a tool call, a step-up and a refresh; gives the client's id. `http` knows what the machine's
/// resolver and trust store do not.
pub(crate) async fn run(url: &str, client_id: Option<String>, http: Option<Client>, visits: Visits) -> String {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let callback = Callback::listen().await;
    let client = http.clone().unwrap_or_else(|| Client::builder().no_proxy().build().unwrap());
    let transport = |manager: AuthorizationManager| {
        let client = AuthClient::new(client.clone(), manager);
        (
            client.clone(),
            StreamableHttpClientTransport::with_client(client, StreamableHttpClientTransportConfig::with_uri(url)),
        )
    };

    let (_, stranger) = transport(AuthorizationManager::new(url).await.unwrap());
    let Err(refused) = ().serve(stranger).await else { panic!("a call without a token") };
    let challenge = refused.auth_challenge().unwrap_or_else(|| panic!("{refused:?}")).to_owned();
    assert!(challenge.contains("resource_metadata=") && challenge.contains(r#"scope="mcp:read""#), "{challenge}");

    let mut state = OAuthState::new(url, http).await.unwrap();
    let mut request = AuthorizationRequest::new(&callback.url).with_client_name(NAME).with_challenge(challenge);
    if let Some(client_id) = client_id {
        request = request.with_client_metadata_url(client_id);
    }
    state.start_authorization(request).await.unwrap();
    let authorization = state.get_authorization_url().await.unwrap();
    let (visits, answer) = callback.visit(visits, authorization).await;
    state.handle_callback_url(&answer).await.unwrap();

    let (client, authorized) = transport(state.into_authorization_manager().unwrap());
    let service = ().serve(authorized).await.unwrap();
    assert!(service.list_all_tools().await.unwrap().iter().any(|tool| tool.name == "search_invoices"));
    let call = async |tool: &'static str, arguments: Value| {
        let arguments = arguments.as_object().unwrap().clone();
        let result = service.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await?;
        Ok::<_, rmcp::ServiceError>(serde_json::to_string(&result.content).unwrap())
    };
    let found = call("search_invoices", json!({"query": "northwind"})).await.unwrap();
    assert!(found.contains("INV-1001"), "{found}");

    let reminder = json!({"invoice": "INV-1001"});
    let refused = call("send_reminder", reminder.clone()).await.unwrap_err();
    let challenge = refused.auth_challenge().unwrap_or_else(|| panic!("{refused:?}")).to_owned();
    assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
    let needed =
        challenge.split_once(r#"scope="mcp"#).map(|(_, rest)| format!("mcp{}", rest.split('"').next().unwrap()));
    let authorization = client.auth_manager.lock().await.request_scope_upgrade(&needed.unwrap()).await.unwrap();
    let (visits, answer) = callback.visit(visits, authorization).await;
    let AuthorizationCallback { code, csrf_token, issuer, .. } =
        AuthorizationCallback::from_redirect_url(&answer).unwrap();
    let exchange = client.auth_manager.lock().await;
    exchange.exchange_code_for_token_with_issuer(&code, &csrf_token, issuer.as_deref()).await.unwrap();
    drop(exchange);
    let sent = call("send_reminder", reminder).await.unwrap();
    assert!(sent.contains("reminder of INV-1001 sent"), "{sent}");

    client.auth_manager.lock().await.refresh_token().await.unwrap();
    let found = call("search_invoices", json!({"query": "contoso"})).await.unwrap();
    assert!(found.contains("INV-1002"), "{found}");
    assert_eq!(visits.pages(), [json!(["login", "consent"]), json!(["consent"])]);
    let (id, _) = client.auth_manager.lock().await.get_credentials().await.unwrap();
    service.cancel().await.unwrap();
    id
}

/// The loopback address that the browser is sent back to.
struct Callback {
    listener: TcpListener,
    url: String,
}

impl Callback {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/callback", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// Sends the person to `url`; gives what the browser was sent back with.
    async fn visit(&self, visits: Visits, url: String) -> (Visits, String) {
        let visit = blocking(move || {
            visits.open(&url);
            visits
        });
        let answered = async {
            loop {
                let (mut stream, _) = self.listener.accept().await.unwrap();
                let mut line = String::new();
                BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
                let page = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nYou can close this page.\n";
                stream.write_all(page.as_bytes()).await.unwrap();
                if let Some(query) = line.split(' ').nth(1).and_then(|target| target.strip_prefix("/callback")) {
                    return format!("{}{query}", self.url);
                }
            }
        };
        // A visit that fails ends the test; there is no answer then.
        tokio::pin!(answered, visit);
        tokio::select! {
            visits = &mut visit => (visits, answered.await),
            answer = &mut answered => (visit.await, answer),
        }
    }
}
