//! Which parameters the entries of a gradient belong to, and which projection of them a row holds.

use borsh::{BorshDeserialize, BorshSerialize};
use protocol::crypto;
use protocol::ids::Hash32;
use protocol::influence::MAX_DIMENSION;
use std::ops::Range;

/// Blocks of one layout.
pub const MAX_BLOCKS: usize = 4096;
/// Bytes of a block's name.
pub const MAX_BLOCK_NAME_BYTES: usize = 256;

/// The trainable parameters of one linear layer: a matrix of `inputs` rows and `outputs` columns, row by row. A bias is
/// one more input that is always 1.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// The layer, for people.
    pub name: String,
    /// Rows: what goes into the layer.
    pub inputs: u32,
    /// Columns: what comes out of it.
    pub outputs: u32,
}

/// All trainable parameters, block after block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Layout {
    blocks: Vec<Block>,
}

/// What rows hold of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Projection {
    /// All of it.
    None,
    /// Sums of its entries with random signs.
    Signs {
        /// How many sums.
        dimension: u32,
    },
    /// Of each block, both sides by themselves with random signs: the projection of x ⊗ δ is that of x ⊗ that of δ.
    Factored {
        /// Sums of a block's inputs; a block with fewer keeps them as they are.
        inputs: u32,
        /// Sums of a block's outputs; a block with fewer keeps them as they are.
        outputs: u32,
    },
    /// Products with vectors that are chosen by the data, such as the first eigenvectors of F.
    Basis {
        /// How many vectors.
        dimension: u32,
        /// The hash of the vectors, each entry as `f32` in little endian, vector by vector.
        digest: Hash32,
    },
}

/// Parameters and projection together: what the entries of rows are.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Space {
    layout: Layout,
    projection: Projection,
}

/// Why blocks are no layout, or bytes no space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum LayoutError {
    #[error("{got} blocks; a layout has 1 to {MAX_BLOCKS}")]
    Blocks { got: usize },
    #[error("block {at} has a name of {got} bytes; at most {MAX_BLOCK_NAME_BYTES} are allowed")]
    Name { at: usize, got: usize },
    #[error("block {at} has {inputs} inputs and {outputs} outputs; it needs one of each")]
    Empty { at: usize, inputs: u32, outputs: u32 },
    #[error("there are {got} parameters; at most {most} are allowed")]
    Parameters { got: u64, most: u64 },
    #[error("a projection to {got} dimensions; it must be to 1 at least, and to at most {most}")]
    Projection { got: u64, most: u64 },
    #[error("these {length} bytes are not the canonical bytes of a layout")]
    Encoding { length: usize },
}

/// Parameters of one layout: what can be projected is limited by what a gradient takes in memory.
const MAX_PARAMETERS: u64 = 1 << 32;

impl Layout {
    /// Blocks, in the order in which they stand in a gradient.
    pub fn new(blocks: Vec<Block>) -> Result<Self, LayoutError> {
        if blocks.is_empty() || blocks.len() > MAX_BLOCKS {
            return Err(LayoutError::Blocks { got: blocks.len() });
        }
        let mut parameters = 0_u64;
        for (at, Block { name, inputs, outputs }) in blocks.iter().enumerate() {
            if name.len() > MAX_BLOCK_NAME_BYTES {
                return Err(LayoutError::Name { at, got: name.len() });
            }
            if *inputs == 0 || *outputs == 0 {
                return Err(LayoutError::Empty { at, inputs: *inputs, outputs: *outputs });
            }
            parameters = parameters.saturating_add(u64::from(*inputs) * u64::from(*outputs));
        }
        if parameters > MAX_PARAMETERS || usize::try_from(parameters).is_err() {
            return Err(LayoutError::Parameters { got: parameters, most: MAX_PARAMETERS });
        }
        Ok(Self { blocks })
    }

    /// The blocks, in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Each block with its place in a gradient.
    pub fn ranges(&self) -> impl Iterator<Item = (&Block, Range<usize>)> {
        let mut start = 0;
        self.blocks.iter().map(move |block| {
            let range = start..start + block.parameters();
            start = range.end;
            (block, range)
        })
    }

    /// How many parameters there are.
    pub fn parameters(&self) -> usize {
        self.blocks.iter().map(Block::parameters).sum()
    }
}

impl Block {
    /// How many parameters it has.
    pub fn parameters(&self) -> usize {
        self.inputs as usize * self.outputs as usize
    }
}

impl Space {
    /// A layout and a projection that belongs to it.
    pub fn new(layout: Layout, projection: Projection) -> Result<Self, LayoutError> {
        let space = Self { layout, projection };
        let (got, parameters) = (space.count(), space.layout.parameters() as u64);
        match projection {
            Projection::None if parameters > MAX_DIMENSION as u64 => {
                Err(LayoutError::Parameters { got: parameters, most: MAX_DIMENSION as u64 })
            }
            _ if got == 0 || got > parameters.min(MAX_DIMENSION as u64) => {
                Err(LayoutError::Projection { got, most: parameters.min(MAX_DIMENSION as u64) })
            }
            _ => Ok(space),
        }
    }

    fn count(&self) -> u64 {
        match self.projection {
            Projection::None => self.layout.parameters() as u64,
            Projection::Signs { dimension } | Projection::Basis { dimension, .. } => dimension.into(),
            Projection::Factored { inputs, outputs } => {
                let sides = |block: &Block| u64::from(inputs.min(block.inputs)) * u64::from(outputs.min(block.outputs));
                self.layout.blocks.iter().map(sides).sum()
            }
        }
    }

    /// Entries of a row.
    pub fn dimension(&self) -> usize {
        // `new` compared it with a bound that is a `usize`.
        usize::try_from(self.count()).unwrap_or(usize::MAX)
    }

    /// The parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What of them rows hold.
    pub fn projection(&self) -> Projection {
        self.projection
    }

    /// Its canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing into memory does not fail.
        borsh::to_vec(self).unwrap_or_default()
    }

    /// The space whose canonical bytes these are.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LayoutError> {
        let encoding = LayoutError::Encoding { length: bytes.len() };
        let (blocks, projection) = borsh::from_slice(bytes).map_err(|_| encoding)?;
        Self::new(Layout::new(blocks)?, projection)
    }

    /// The hash that a header names.
    pub fn hash(&self) -> Hash32 {
        crypto::influence_layout(&self.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(inputs: u32, outputs: u32) -> Block {
        Block { name: format!("{inputs} to {outputs}"), inputs, outputs }
    }

    #[test]
    fn a_space_comes_back_from_its_bytes() {
        let layout = Layout::new(vec![block(65, 64), block(65, 10)]).unwrap();
        assert_eq!(layout.parameters(), 4_810);
        assert_eq!(layout.ranges().map(|(_, range)| range).collect::<Vec<_>>(), [0..4_160, 4_160..4_810]);
        for (projection, dimension) in [
            (Projection::None, 4_810),
            (Projection::Signs { dimension: 512 }, 512),
            (Projection::Factored { inputs: 16, outputs: 16 }, 16 * 16 + 16 * 10),
            (Projection::Basis { dimension: 7, digest: Hash32([1; 32]) }, 7),
        ] {
            let space = Space::new(layout.clone(), projection).unwrap();
            assert_eq!(space.dimension(), dimension);
            let bytes = space.to_bytes();
            assert_eq!(Space::from_bytes(&bytes), Ok(space));
            for end in 0..bytes.len() {
                assert!(Space::from_bytes(&bytes[..end]).is_err());
            }
        }
    }

    #[test]
    fn hostile_layouts_are_refused() {
        assert_eq!(Layout::new(Vec::new()), Err(LayoutError::Blocks { got: 0 }));
        assert!(matches!(Layout::new(vec![block(0, 3)]), Err(LayoutError::Empty { at: 0, .. })));
        let error = Layout::new(vec![block(u32::MAX, u32::MAX); 4]);
        assert!(matches!(error, Err(LayoutError::Parameters { .. })), "{error:?}");
        let name = "x".repeat(MAX_BLOCK_NAME_BYTES + 1);
        let error = Layout::new(vec![Block { name, inputs: 1, outputs: 1 }]);
        assert!(matches!(error, Err(LayoutError::Name { at: 0, .. })));
        let layout = Layout::new(vec![block(3, 4)]).unwrap();
        let space = |projection| Space::new(layout.clone(), projection);
        for dimension in [0, 13, u32::MAX] {
            assert!(matches!(space(Projection::Signs { dimension }), Err(LayoutError::Projection { most: 12, .. })));
        }
        assert!(space(Projection::Factored { inputs: 0, outputs: 4 }).is_err());
        // A length that promises more blocks than there are bytes.
        assert!(Space::from_bytes(&[0xff; 16]).is_err());
    }
}
