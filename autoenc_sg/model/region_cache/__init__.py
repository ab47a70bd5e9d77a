"""What a frozen detector sees of a data set, in memory-mapped files (see `cache`)."""

from autoenc_sg.model.region_cache.cache import RegionCache, RegionCaches
from autoenc_sg.model.region_cache.keys import CacheKey, data_digest, detector_digest
from autoenc_sg.model.region_cache.write import write_region_cache

__all__ = [
    "CacheKey",
    "RegionCache",
    "RegionCaches",
    "data_digest",
    "detector_digest",
    "write_region_cache",
]
