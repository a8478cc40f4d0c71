"""The OpenAPI document, made from the handlers' types, and a page of ours that shows it."""
