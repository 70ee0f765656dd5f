"""Runs the package from here, without installing it: python3 traces/python import ..."""

from moesim.__main__ import end, main

end(main())
