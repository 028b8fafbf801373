// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import {GridManagement} from "../src/GridManagement.sol";
import {PriceOracle} from "../src/PriceOracle.sol";
import {IFinalHeaders} from "../src/interfaces/IFinalHeaders.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {QuorumOracle} from "../src/oracles/QuorumOracle.sol";
import {Cast} from "./Cast.sol";

/// @dev Gas of a posting within the bounds of the grid and the collar of an oracle, as whole transactions with
/// everything cold. No header costs more: every byte of every root counts in full.
contract PostingGasTest is Cast {
    GridManagement internal grid;
    Messages.Header internal next;

    function setUp() public override {
        super.setUp();
        address authority = address(new AccessManager(address(this)));
        PriceOracle oracle =
            new PriceOracle(authority, -500_000, 4_000_000, QuorumOracle.Terms(600, 3_600, 100, 5_000, 50_000));
        grid = new GridManagement(authority, IFinalHeaders(address(settlement)), oracle, 5_000_000, 14 days);
        oracle.setListener(grid);
        VM.startPrank(GOVERNANCE);
        settlement.setBounds(address(grid));
        settlement.setOutflowCap(1_000e9);
        VM.stopPrank();
        finalised(keccak256("balances"));
        answer(oracle, 100_000);

        next = nextHeader(keccak256("c"));
        next.auctionsRoot = keccak256("a");
        next.metersRoot = keccak256("b");
        next.dataHash = keccak256("d");
        next.volumeWh = 1_234_567;
        // The longest way through: an answer that is stale.
        VM.warp((uint256(next.interval) + 1) * 900 + 3 * 3_600);
    }

    /// @dev The one reporter answers with `value`, observed now.
    function answer(PriceOracle oracle, int64 value) private {
        address[] memory one = new address[](1);
        one[0] = VM.addr(ADA_KEY);
        oracle.setReporters(one, 1, 1);
        QuorumOracle.Quote[] memory quotes = new QuorumOracle.Quote[](1);
        quotes[0] = QuorumOracle.Quote(value, uint64(block.timestamp));
        bytes[] memory signatures = new bytes[](1);
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(ADA_KEY, oracle.digestOf(quotes[0]));
        signatures[0] = abi.encodePacked(r, s, v);
        oracle.submit(quotes, signatures);
    }

    function test_posting_within_real_bounds_costs_at_most_74_000_gas() public {
        bytes memory input = abi.encodeCall(settlement.post, (next));
        VM.prank(COORDINATOR);
        (bool done,) = address(settlement).call(input);
        assertTrue(done && transactionGas(input) <= 74_000);
    }

    function test_reading_the_bounds_costs_at_most_5_500_gas_cold() public view {
        address target = address(grid);
        uint256 spent;
        int256 floor;
        int256 cap;
        assembly ("memory-safe") {
            mstore(0x00, shl(224, 0x286b8c86)) // postingBounds()
            let before := gas()
            pop(staticcall(before, target, 0x00, 0x04, 0x00, 0x40))
            spent := sub(before, gas())
            floor := mload(0x00)
            cap := mload(0x20)
        }
        assertTrue(floor == -100_000 && cap == 300_000);
        // 2,600 of it is the caller's own way to a cold address, 2,100 one cold slot.
        assertTrue(spent > 2_600 + 2_100 && spent <= 5_500);
    }
}
