"""REST against gRPC with small and large payloads, as studies of microservices compare them, and PXW beside them."""
