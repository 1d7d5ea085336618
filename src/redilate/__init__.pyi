# The public names and their modules. `__init__.py` reads them from here too, so that they stand in one place.
from .core.conv import Dispersion as Dispersion
from .core.dispersion import dispersion_matrix as dispersion_matrix
from .core.guidance import GuidanceLayout as GuidanceLayout
from .decoding.decode import decode as decode
from .decoding.decode import encode as encode
from .errors import RedilateError as RedilateError
from .generation.drawing import Drawing as Drawing
from .generation.drawing import Hires as Hires
from .generation.drawing import Leg as Leg
from .generation.drawing import Request as Request
from .generation.edit import edit as edit
from .generation.enlarge import enlarge as enlarge
from .generation.generate import generate as generate
from .generation.plan_for import plan_for as plan_for
from .generation.resolve import resolve as resolve
from .generation.run import Callbacks as Callbacks
from .generation.run import Generation as Generation
from .generation.run import SafetyStopped as SafetyStopped
from .generation.run import run as run
from .pipelines.apply import Handle as Handle
from .pipelines.apply import apply as apply
from .pipelines.apply import is_applied as is_applied
from .pipelines.apply import remove as remove
from .pipelines.guider import NoiseDampedGuidance as NoiseDampedGuidance
from .pipelines.loading import load as load
from .plans.plan import NoiseDamping as NoiseDamping
from .plans.plan import Plan as Plan
from .plans.plan import Windows as Windows

__all__: list[str]
__version__: str
