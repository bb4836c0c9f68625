// Shows the document that lies beside this page. Nothing is fetched from anywhere else.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#contract",
  deepLinking: true,
  showExtensions: true, // the roles of a call
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
