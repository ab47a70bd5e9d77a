"""Metrics beyond recall: of objects, of predicates within a pair, and of triplet scores."""
