"""What a worker does: observe, plan, execute, reconcile. The only package that joins the engine and the actions."""
