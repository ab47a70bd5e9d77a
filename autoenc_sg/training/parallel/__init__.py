"""Training in several processes: Lightning Fabric, and steps that do not depend on their number."""
