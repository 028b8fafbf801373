// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {PriceOracle} from "../src/PriceOracle.sol";
import {ICollarListener} from "../src/interfaces/ICollarListener.sol";
import {QuorumOracle} from "../src/oracles/QuorumOracle.sol";
import {OracleCast} from "./OracleCast.sol";

/// @dev Remembers what it was told, until it listens in one of the ways in which a listener can go wrong.
contract Listener is ICollarListener {
    enum Manner {
        Attentive,
        Reverting,
        Burning,
        Shouting,
        Asking
    }

    Manner public manner;
    uint256 public times;
    bytes32 public heard = keccak256("nothing yet");

    function become(Manner newManner) external {
        manner = newManner;
    }

    function onStanding(int64 answer, uint40 observedAtS, uint32 staleAfterS, uint64 width, int64 low, int64 high)
        external
    {
        if (manner == Manner.Reverting) revert("not listening");
        if (manner == Manner.Shouting) {
            assembly ("memory-safe") {
                revert(0, 0x4000)
            }
        }
        while (manner == Manner.Burning) times++;
        if (manner == Manner.Asking) QuorumOracle(msg.sender).setTerms(QuorumOracle(msg.sender).termsInForce());
        times++;
        heard = keccak256(abi.encode(answer, observedAtS, staleAfterS, width, low, high));
    }
}

contract CollarListenerTest is OracleCast {
    Listener internal listener;

    function setUp() public override {
        super.setUp();
        listener = new Listener();
    }

    /// @dev That the listener was told so often, and the last time what the oracle's collar follows from now.
    function expectHeard(uint256 times) internal view {
        assertEq(listener.times(), times);
        (int64 value, uint40 observedAtS, uint32 staleAfterS, uint64 width, int64 low, int64 high) = oracle.standing();
        assertEq(listener.heard(), keccak256(abi.encode(value, observedAtS, staleAfterS, width, low, high)));
    }

    function test_a_standing_is_the_last_answer_the_terms_and_the_range() public {
        (int64 value, uint40 observedAtS, uint32 staleAfterS, uint64 width, int64 low, int64 high) = oracle.standing();
        assertEq(value, 0);
        assertEq(observedAtS, 0);
        assertEq(staleAfterS, 3_600);
        assertEq(width, 50_000);
        assertEq(low, MINIMUM);
        assertEq(high, MAXIMUM);
        answer(list(-7, -7, -7));
        (value, observedAtS,,,,) = oracle.standing();
        assertEq(value, -7);
        assertEq(observedAtS, clock);
    }

    function test_a_listener_is_told_at_once_and_whenever_something_changes() public {
        VM.expectEmit();
        emit QuorumOracle.ListenerSet(listener);
        oracle.setListener(listener);
        assertEq(address(oracle.listener()), address(listener));
        expectHeard(1);
        answer(list(100_000, 100_000, 100_000));
        expectHeard(2);
        oracle.setTerms(QuorumOracle.Terms(1, 2, 3, 4, 5));
        expectHeard(3);
    }

    function test_who_is_no_longer_the_listener_is_told_nothing() public {
        oracle.setListener(listener);
        VM.expectEmit();
        emit QuorumOracle.ListenerSet(ICollarListener(address(0)));
        oracle.setListener(ICollarListener(address(0)));
        answer(list(100_000, 100_000, 100_000));
        oracle.setTerms(QuorumOracle.Terms(1, 2, 3, 4, 5));
        assertEq(listener.times(), 1);
    }

    function test_only_the_authority_names_the_listener() public {
        VM.prank(ADA);
        expectUnauthorised(ADA);
        oracle.setListener(listener);
    }

    function test_what_does_not_listen_from_the_start_is_no_listener() public {
        ICollarListener nobody = ICollarListener(ADA);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.ListenerRefuses.selector, nobody));
        oracle.setListener(nobody);
        listener.become(Listener.Manner.Reverting);
        VM.expectRevert(abi.encodeWithSelector(QuorumOracle.ListenerRefuses.selector, listener));
        oracle.setListener(listener);
        assertEq(address(oracle.listener()), address(0));
    }

    function test_no_listener_silences_an_oracle_whatever_it_does() public {
        oracle.setListener(listener);
        Listener.Manner[4] memory manners =
            [Listener.Manner.Reverting, Listener.Manner.Burning, Listener.Manner.Shouting, Listener.Manner.Asking];
        for (uint256 i = 0; i < manners.length; i++) {
            listener.become(manners[i]);
            later(60);
            (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(100, 100, 100));
            VM.expectEmit();
            emit QuorumOracle.Answered(uint80(i + 1), 100, uint64(clock), 3);
            VM.expectEmit();
            emit QuorumOracle.ListenerFailed(listener);
            uint256 before = gasleft();
            oracle.submit(quotes, signatures);
            assertTrue(before - gasleft() < 250_000);
            (uint80 round, int256 value,,,) = oracle.latestRoundData();
            assertEq(round, i + 1);
            assertEq(value, 100);
            VM.expectEmit();
            emit QuorumOracle.ListenerFailed(listener);
            oracle.setTerms(terms());
        }
        assertEq(listener.times(), 1);
        listener.become(Listener.Manner.Attentive);
        later(60);
        answer(list(100, 100, 100));
        expectHeard(2);
    }

    /// @dev By whoever submits: with any gas, either nothing happens or the listener hears of it.
    function testFuzz_nobody_submits_past_an_attentive_listener(uint256 gas) public {
        oracle.setListener(listener);
        (QuorumOracle.Quote[] memory quotes, bytes[] memory signatures) = quotesOf(list(100, 100, 100));
        try oracle.submit{gas: 30_000 + gas % 300_000}(quotes, signatures) {
            expectHeard(2);
        } catch (bytes memory) {
            assertTrue(oracle.isStale());
            assertEq(listener.times(), 1);
        }
    }

    function test_too_little_gas_for_the_listener_is_named() public {
        oracle.setListener(listener);
        QuorumOracle.Terms memory same = terms();
        VM.expectRevert(QuorumOracle.GasTooLow.selector);
        oracle.setTerms{gas: 60_000}(same);
        oracle.setTerms{gas: 130_000}(same);
        expectHeard(2);
    }
}
